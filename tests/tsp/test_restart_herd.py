"""Five hundred leased tenants ask a proxy at once that was just killed and started: few calls, and all warm soon. R-28.

`make test ARGS="-s tests/tsp/test_restart_herd.py"` prints the figures. In virtual time, with a key service that
hangs among them, is in `leases/test_herd.py`.
"""

from __future__ import annotations

import json
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_kms import AwsKmsDouble, aws_kms, body_for
from tests.support.feed import FeedServer
from tests.support.people import document, sealed_record
from tests.support.proxy import Proxy
from tests.tsp.doubles import request
from tsp.contract.tenant import Leasing
from tsp.leases.cache import CONCURRENT

TENANTS = [f"tenant-{number:03d}" for number in range(500)]
LATENCY, WARM_SECONDS = 0.1, 60.0
UNREACHABLE = 208  # "not within ten seconds": a client asks again

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def kms() -> Iterator[AwsKmsDouble]:
    with aws_kms() as found:
        yield found


@pytest.fixture
def proxy(kms: AwsKmsDouble, tmp_path: Path) -> Iterator[Proxy]:
    feed = FeedServer()
    for at, name in enumerate(TENANTS, 1):
        body = body_for(name, kms.port, leasing=Leasing(enabled=True))
        feed.records.append(sealed_record(document(name, at, body=body), sequence=at))
    running = Proxy(tmp_path, feed)
    running.process.wait_for_port(running.port, seconds=120)  # a first start tries out every configuration
    yield running
    running.process.stop()
    feed.stop()


def _asked(proxy: Proxy, route: str, tenant: str, **more: str) -> dict[str, Any]:
    """The answer; asked again as long as the key is on its way."""
    while True:
        try:
            return dict(proxy.post(route, request(tenant, **more)))
        except TimeoutError:
            continue
        except urllib.error.HTTPError as error:
            if json.loads(error.read())["code"] != UNREACHABLE:
                raise


def _warm(proxy: Proxy) -> Counter[str]:
    """From the operator's page: by tenant, leased keys that are held and proved."""
    held = json.loads(proxy.get("/leases")[1])["leases"]
    return Counter(lease["tenant"] for lease in held if lease["usable_for"] > 0 and not lease["failed_renewals"])


def test_five_hundred_tenants_after_a_kill_are_warm_within_a_minute(proxy: Proxy, kms: AwsKmsDouble) -> None:
    """R-28, R-25: at most 20 calls to key services at the same time, at 100 ms each, and one for each leased key."""
    with ThreadPoolExecutor(len(TENANTS)) as threads:
        rows = list(threads.map(lambda name: _asked(proxy, "document/wrap", name), TENANTS))
        assert _warm(proxy) == Counter(TENANTS)
        proxy.kill()
        kms.delay, kms.busiest, before = LATENCY, 0, len(kms.log)
        proxy.start()
        proxy.process.wait_for_port(proxy.port, seconds=60)
        assert not _warm(proxy)
        began = time.monotonic()
        opened = threads.map(
            lambda name, row: _asked(proxy, "document/unwrap", name, encryptedDocumentKey=row["edek"]), TENANTS, rows
        )
        while _warm(proxy) != Counter(TENANTS):
            assert time.monotonic() - began <= WARM_SECONDS
            time.sleep(0.1)
        took = time.monotonic() - began
        assert [one["dek"] for one in opened] == [row["dek"] for row in rows]
    calls = kms.log[before:]
    print(
        f"{len(TENANTS)} leased tenants: all warm after {took:.1f} s, at most {kms.busiest} key service calls at once"
    )
    assert kms.busiest <= CONCURRENT == 20
    assert Counter((one.key, one.operation) for one in calls) == {(name, "Decrypt"): 1 for name in TENANTS}
