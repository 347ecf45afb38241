"""A proxy whose clock is moved and whose memory is read, before a key service that is cut off. R-2, R-5, R-26, T-20."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.aws_kms import BROKEN, DISABLED, OK, REFUSE, AwsKmsDouble, aws_kms, body_for
from tests.support.fault_proxy import FaultProxy, Faults, fault_proxy
from tests.support.feed import FeedServer
from tests.support.people import NORTH, document, sealed_record
from tests.support.watched import Watched
from tests.tsp.doubles import request
from tsp.contract.tenant import Leasing


@pytest.fixture(scope="module")
def kms() -> Iterator[AwsKmsDouble]:
    with aws_kms() as found:
        yield found


@pytest.fixture(scope="module")
def network(kms: AwsKmsDouble) -> Iterator[FaultProxy]:
    """Between the proxy and its tenant's key service."""
    with fault_proxy(kms.port) as found:
        yield found


@pytest.fixture(scope="module")
def running(network: FaultProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    feed = FeedServer()
    body = body_for("north-key", network.port, leasing=Leasing(enabled=True))
    feed.records.append(sealed_record(document(NORTH, body=body), sequence=1))
    found = Watched(tmp_path_factory.mktemp("watched"), feed)
    found.ready()
    yield found
    found.close()
    feed.stop()


@pytest.fixture
def proxy(running: Watched, kms: AwsKmsDouble, network: FaultProxy) -> Watched:
    """One process for all tests here: all is well again, and whatever it held has expired."""
    kms.tell("north-key", OK)
    network.tell()
    running.pass_time(4_000)
    _await(lambda: '"leases":[]' in running.get("/leases")[1])
    return running


def _unwrap(proxy: Watched, edek: str) -> str | int:
    """The key, or the code of the error."""
    try:
        return str(proxy.post("document/unwrap", request(NORTH, encryptedDocumentKey=edek))["dek"])
    except urllib.error.HTTPError as error:
        return int(json.loads(error.read())["code"])


def _await(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _leased_key(kms: AwsKmsDouble) -> bytes:
    """The LEK: the last key that the tenant's key service opened."""
    return [one for one in list(kms.log) if one.operation == "Decrypt" and one.fine][-1].plain


def _proof(kms: AwsKmsDouble) -> float:
    return [one for one in list(kms.log) if one.operation == "Decrypt" and one.fine][-1].came


FAULTS = {
    "blackhole": Faults(blackhole=True),
    "reset": Faults(reset=True),
    "half-close": Faults(half_close=True),
}


@pytest.mark.parametrize("fault", [*FAULTS, BROKEN])
def test_an_hour_without_its_key_service_and_not_a_second_more(
    proxy: Watched, kms: AwsKmsDouble, network: FaultProxy, fault: str
) -> None:
    """R-2: 100 % for 3,600 s after the last proof, 0 % after, the key's bytes gone; and back when the network is."""
    made = proxy.post("document/wrap", request(NORTH))
    lek, proof = _leased_key(kms), _proof(kms) + proxy.ahead
    kms.tell("north-key", BROKEN if fault == BROKEN else OK)
    network.tell(FAULTS.get(fault, Faults()))
    age, served = 0.0, 0
    while age < 3_590:
        proxy.pass_time(min(180.0, 3_597.0 - age))
        age = proxy.boot() - proof
        assert [_unwrap(proxy, made["edek"]) for _ in range(5)] == [made["dek"]] * 5
        served += 5
    assert served >= 100
    assert proxy.copies(lek) >= 1

    proxy.pass_time(3_600.1 - (proxy.boot() - proof))
    assert _unwrap(proxy, made["edek"]) == 208
    _await(lambda: '"leases":[]' in proxy.get("/leases")[1])
    assert proxy.copies(lek) == 0

    kms.tell("north-key", OK)
    network.tell()
    _await(lambda: _unwrap(proxy, made["edek"]) == made["dek"])


def test_a_network_that_comes_back_proves_the_lease_within_a_minute(
    proxy: Watched, kms: AwsKmsDouble, network: FaultProxy
) -> None:
    """R-2: without a request; the hour starts anew."""
    proxy.post("document/wrap", request(NORTH))
    proof = _proof(kms)
    network.tell(Faults(reset=True))
    for _ in range(10):
        proxy.pass_time(120)
        time.sleep(0.6)
    assert _proof(kms) == proof
    back = time.monotonic()
    network.tell()
    proxy.pass_time(60)
    _await(lambda: _proof(kms) > proof)
    # since the network is back: that minute, and what has really passed; the age is rounded to a tenth
    _await(lambda: json.loads(proxy.get("/leases")[1])["leases"][0]["proof_age"] <= 60.1 + time.monotonic() - back)


@pytest.mark.parametrize("no", [REFUSE, DISABLED])
def test_a_refusal_leaves_no_copy_of_the_key(proxy: Watched, kms: AwsKmsDouble, no: str) -> None:
    """R-5, T-20: the whole memory of the process is searched, before and after."""
    made = proxy.post("document/wrap", request(NORTH))
    lek = _leased_key(kms)
    assert proxy.copies(lek) >= 1
    kms.tell("north-key", no)
    proxy.pass_time(331)
    _await(lambda: _unwrap(proxy, made["edek"]) == 206)
    import base64

    print("COPIES", proxy.copies(lek), proxy.copies(base64.b64encode(lek)))
    assert proxy.copies(lek) == 0

    kms.tell("north-key", OK)  # and back without a restart
    proxy.pass_time(331)
    _await(lambda: _unwrap(proxy, made["edek"]) == made["dek"])


@pytest.mark.parametrize(
    ("boot", "wall", "stopped", "served"),
    [
        (7_200.0, 7_200.0, True, False),  # SIGSTOP, and two hours later SIGCONT
        (7_200.0, 0.0, False, False),  # a suspend after which somebody put the wall clock back
        (0.0, 3_601.0, False, False),  # the wall clock alone: whichever is over first
        (0.0, 86_400.0, False, False),
        (3_601.0, 3_601.0 - 86_400.0, False, False),
        (3_000.0, 3_000.0 - 3_600.0, False, True),  # set back, it neither gives nor takes a second
        (3_000.0, 3_000.0 - 86_400.0, True, True),
    ],
)
def test_no_clock_makes_a_key_live_longer(
    proxy: Watched, network: FaultProxy, boot: float, wall: float, stopped: bool, served: bool
) -> None:
    """R-26: the very first request after the jump."""
    made = proxy.post("document/wrap", request(NORTH))
    network.tell(Faults(reset=True))
    if stopped:
        proxy.process.child.send_signal(signal.SIGSTOP)
    proxy.shift(boot=boot, wall=wall)
    if stopped:
        proxy.process.child.send_signal(signal.SIGCONT)
    assert _unwrap(proxy, made["edek"]) == (made["dek"] if served else 208)
