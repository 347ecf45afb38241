"""One tenant's key service takes calls and does not answer: nobody else notices. R-1."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aws_kms import HANG, AwsKmsDouble, aws_kms, body_for
from tests.support.feed import FeedServer
from tests.support.people import document, sealed_record
from tests.support.proxy import Proxy
from tests.support.saas import UNWRAP, WRAP, Saas
from tsp.contract.tenant import Leasing
from tsp.gate import PER_KEY

TENANTS = [f"tenant-{number}" for number in range(20)]
SLOW, SLOW_LEASED = TENANTS[7], TENANTS[12]


@pytest.fixture
def kms() -> Iterator[AwsKmsDouble]:
    with aws_kms() as found:
        yield found


@pytest.fixture
def proxy(kms: AwsKmsDouble, tmp_path: Path) -> Iterator[Proxy]:
    """Twenty tenants, every fourth of them leased."""
    feed = FeedServer()
    for at, name in enumerate(TENANTS):
        body = body_for(name, kms.port, leasing=Leasing(enabled=at % 4 == 0))
        feed.records.append(sealed_record(document(name, at + 1, body=body), sequence=at + 1))
    running = Proxy(tmp_path, feed)
    running.ready()
    yield running
    running.process.stop()
    feed.stop()


def test_nineteen_tenants_see_no_error_while_one_key_service_hangs(proxy: Proxy, kms: AwsKmsDouble) -> None:
    """R-1: 0 errors for the others, and at most eight calls wait inside the one that hangs."""
    slow = [SLOW, SLOW_LEASED]
    for name in slow:
        kms.tell(name, HANG)
    others = [name for name in TENANTS if name not in slow]
    stuck = [Saas([proxy.port], [name], threads=30, routes=[WRAP], seed=1) for name in slow]
    load = Saas([proxy.port], others, threads=4, routes=[WRAP, UNWRAP])
    time.sleep(6.0)
    calls = load.stop()
    hung = [call for one in stuck for call in one.stop()]
    assert {call.tenant for call in calls} == set(others)
    assert {call.status for call in calls} == {200}
    assert len(hung) >= 60
    assert {call.code for call in hung} <= {100, 208}  # unreachable, or too many waiting
    assert all(call.status for call in hung)
    # as the key service counts: it notices a caller that has given up a little after that one's place is taken again
    assert max(kms.most[name] for name in slow) <= 2 * PER_KEY
