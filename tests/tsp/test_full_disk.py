"""A disk that takes no more in the middle of a write, and a process that is stopped: refused, never lost. Q-9, R-29."""

from __future__ import annotations

import json
import resource
import signal
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.feed import FeedServer
from tests.support.hec import HOOK_SECRET, Hook
from tests.support.ledger import balance
from tests.support.people import NORTH, document, sealed_record
from tests.support.proxy import Proxy
from tests.support.saas import Saas
from tests.tsp.doubles import request
from tsp.contract.tenant import SiemBody
from tsp.kms.local import create_key_file


@pytest.fixture
def proxy(hook: Hook, tmp_path: Path) -> Iterator[Proxy]:
    create_key_file(tmp_path / "key")
    feed = FeedServer()
    siem = SiemBody("webhook", {"url": hook.url + "/cmk", "secret": HOOK_SECRET})
    feed.records = [
        sealed_record(document(NORTH, 1, key_file=tmp_path / "key", leased=True), sequence=1),
        sealed_record(document(NORTH, 2, body=siem), sequence=2),
    ]
    running = Proxy(tmp_path, feed)
    running.ready()
    yield running
    running.process.stop()
    feed.stop()


def _limit(proxy: Proxy, size: int) -> None:
    """No file of the process may grow beyond `size` bytes: the kernel cuts the write there."""
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _of_the_load(hook: Hook) -> list[dict[str, Any]]:
    return [event for event in list(hook.events) if event.get("requesting_id") == "load"]


def _refused(proxy: Proxy) -> bool:
    with pytest.raises(urllib.error.HTTPError) as refused:
        proxy.post("document/wrap", request(NORTH))
    return (refused.value.code, json.loads(refused.value.read())["code"]) == (503, 100)


@pytest.mark.parametrize("room", [0, 5, 12, 200])  # none, a torn head, a head alone, a torn event
def test_a_disk_that_is_full_in_the_middle_of_a_write_refuses_the_key(
    proxy: Proxy, hook: Hook, tmp_path: Path, room: int
) -> None:
    """The torn event is cut, what was taken before stays, and with room there are keys again."""
    hook.mode = "busy"  # so that everything stays in the spool
    load = Saas([proxy.port], [NORTH], threads=2)
    while load.served() < 60:
        time.sleep(0.05)
    calls = load.stop()
    assert {call.status for call in calls} == {200}
    [segment] = (tmp_path / "state").rglob("*.segment")
    written = len(segment.read_bytes().rstrip(b"\0"))  # what follows is reserved for what comes
    _limit(proxy, written + 100)
    assert _refused(proxy)  # that file is torn, and left; the next one has room
    assert "dek" in proxy.post("document/wrap", request(NORTH))
    _limit(proxy, room)
    assert all(_refused(proxy) for _ in range(5))
    _limit(proxy, resource.RLIM_INFINITY)
    assert "dek" in proxy.post("document/wrap", request(NORTH))

    proxy.kill()
    proxy.start()
    proxy.ready()
    hook.mode = "ok"
    until = time.monotonic() + 30
    while balance(calls, _of_the_load(hook)).faults and time.monotonic() < until:
        time.sleep(0.2)
    assert balance(calls, _of_the_load(hook)).faults == ()


def test_a_process_that_is_stopped_for_a_while_goes_on_where_it_was(proxy: Proxy, hook: Hook) -> None:
    """SIGSTOP and SIGCONT under load, five times: the callers wait, nothing is lost or doubled."""
    load = Saas([proxy.port], [NORTH], threads=4)
    for _ in range(5):
        before = load.served()
        while load.served() < before + 20:
            time.sleep(0.02)
        proxy.process.child.send_signal(signal.SIGSTOP)
        time.sleep(0.4)
        proxy.process.child.send_signal(signal.SIGCONT)
    calls = load.stop()
    until = time.monotonic() + 30
    while (found := balance(calls, list(hook.events))).faults and time.monotonic() < until:
        time.sleep(0.2)
    assert found.faults == ()
    assert {call.status for call in calls} == {200}
