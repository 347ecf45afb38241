"""The demonstration's log servers take events from our sinks, and from nobody without the token or the signature."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook

from examples.demo.siem import Siem, events_in
from tests.support.processes import free_port
from tsp.catalog import sink
from tsp.contract.events import AuditEvent, new_id, timestamp
from tsp.contract.options import load
from tsp.egress import Egress


@pytest.fixture
def siem() -> Iterator[Siem]:
    found = Siem(free_port())
    found.start()
    yield found
    found.stop()


def _events(tenant: str) -> list[AuditEvent]:
    made = {"vendor": "acme", "tenant": tenant, "action": "dek.unwrap", "outcome": "success"}
    return [AuditEvent(id=new_id(), time=timestamp(), **made) for _ in range(3)]


def _send(siem: Siem, kind: str, options: dict[str, object], events: list[AuditEvent]) -> None:
    cls = sink(kind)
    cls(load(cls.Config, options), Egress(allow=["127.0.0.0/8"])).send(events)


def test_our_sinks_are_taken_and_a_repeat_counts_once(siem: Siem) -> None:
    base = f"http://127.0.0.1:{siem.port}"
    north, south = _events("north"), _events("south")
    for _ in range(2):
        _send(siem, "splunk", {"url": f"{base}/north", "token": siem.hec_token}, north)
        _send(siem, "webhook", {"url": f"{base}/south/hook", "secret": siem.hook_secret}, south)
    assert [event["id"] for event in siem.events("north")] == sorted(event.id for event in north)
    assert [event["id"] for event in siem.events("south")] == sorted(event.id for event in south)
    assert siem.turned_away == 0
    assert "dek.unwrap" in siem.page()


def test_a_wrong_token_or_signature_is_turned_away(siem: Siem) -> None:
    body = b'{"id": "1", "action": "dek.wrap"}'
    path = "/north/services/collector/event"
    assert siem.take(path, {"authorization": "Splunk wrong"}, body) == 401
    assert siem.take(path, {}, body) == 401
    now = int(time.time())
    for stamp, signed in ((now, b"other"), (now - 3600, body)):
        signature = _signature(siem, stamp, signed)
        headers = {"webhook-id": "1", "webhook-timestamp": str(stamp), "webhook-signature": signature}
        assert siem.take("/south/hook", headers, body) == 401
    good = {"webhook-id": "1", "webhook-timestamp": str(now), "webhook-signature": _signature(siem, now, body)}
    assert siem.take("/south/hook", good, body) == 200
    assert siem.take("/elsewhere", good, body) == 404


def _signature(siem: Siem, stamp: int, body: bytes) -> str:
    """As an independent library makes it."""
    from datetime import UTC, datetime

    return str(Webhook(siem.hook_secret).sign("1", datetime.fromtimestamp(stamp, UTC), body.decode()))


@pytest.mark.parametrize("body", [b"[1]", b"{", b'"text"', b'{"id": 1}', b"\xff"])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        events_in(body)
