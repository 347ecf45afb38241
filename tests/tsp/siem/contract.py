"""What every sink promises; a sink's test inherits these and says how to make one and read what arrived."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.faults import FaultServer
from tests.support.hec import Receiver
from tsp.contract.events import AuditEvent, new_id, timestamp
from tsp.egress import Egress
from tsp.siem import base
from tsp.siem.base import Sink, SinkError


def event(number: int = 0, **more: object) -> AuditEvent:
    members: dict[str, object] = {
        "id": new_id(),
        "time": timestamp(1_700_000_000 + number),
        "vendor": "acme",
        "tenant": "tenant-a",
        "action": "dek.unwrap",
        "outcome": "success",
        "tsp": "tsp-1",
        "custom": {"reason": "Visite bei Frau Müller – „Zimmer 3“"},
    }
    return AuditEvent(**{**members, **more})  # type: ignore[arg-type]


class SinkContract:
    """Inherit with fixtures `receiver` and `sink`, and with `ids`: those of the events that the receiver took."""

    def ids(self, receiver: Receiver) -> list[str]:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _short_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "SEND_SECONDS", 0.7)

    @pytest.fixture
    def egress(self) -> Iterator[Egress]:
        guard = Egress(["127.0.0.0/8"])
        yield guard
        guard.close()

    def test_delivers_every_event_with_its_id_in_order(self, sink: Sink, receiver: Receiver) -> None:
        sent = [event(number) for number in range(50)]
        sink.send(sent)
        sink.send([event(99)])
        assert self.ids(receiver)[:50] == [one.id for one in sent]
        assert len(self.ids(receiver)) == 51

    @pytest.mark.parametrize("mode", ["hang", "cut", "busy"])
    def test_a_receiver_in_trouble_is_tried_again(self, sink: Sink, receiver: Receiver, mode: str) -> None:
        receiver.mode = mode
        began = time.monotonic()
        with pytest.raises(SinkError) as raised:
            sink.send([event()])
        assert time.monotonic() - began < 2
        assert (raised.value.permanent, raised.value.refused) == (False, False)
        receiver.mode = "ok"
        sink.send([event()])
        assert len(self.ids(receiver)) == 1

    def test_a_throttling_receiver_says_when(self, sink: Sink, receiver: Receiver) -> None:
        """R-18."""
        receiver.mode = "throttle"
        with pytest.raises(SinkError) as raised:
            sink.send([event()])
        assert (raised.value.retry_after, raised.value.permanent, raised.value.refused) == (7.0, False, False)

    @pytest.mark.parametrize("mode", ["forbid", "login", "moved"])
    def test_a_refusal_is_about_the_settings_and_not_the_events(
        self, sink: Sink, receiver: Receiver, mode: str
    ) -> None:
        """R-20; and a redirect is not followed (T-16)."""
        receiver.mode = mode
        with pytest.raises(SinkError) as raised:
            sink.send([event()])
        assert (raised.value.permanent, raised.value.refused) == (False, True)
        assert len(receiver.requests) == 1

    def test_a_poison_event_is_named_permanent(self, sink: Sink, receiver: Receiver) -> None:
        """R-19: the shipper bisects; the good half is then taken."""
        good, bad = event(1), event(2)
        receiver.poison = {bad.id}
        with pytest.raises(SinkError) as raised:
            sink.send([good, bad])
        assert (raised.value.permanent, raised.value.refused) == (True, False)
        sink.send([good])
        assert self.ids(receiver) == [good.id]

    def test_an_address_that_is_not_allowed_is_a_refusal(self, sink: Sink) -> None:
        """T-16 holds for sinks."""
        closed = type(sink)(sink.config, Egress())
        with pytest.raises(SinkError) as raised:
            closed.send([event()])
        assert raised.value.refused

    def test_shows_no_secret(self, sink: Sink, receiver: Receiver, secret: str) -> None:
        texts = [repr(sink), repr(sink.config)]
        for mode in ("forbid", "busy", "moved", "hang"):
            receiver.mode = mode
            with pytest.raises(SinkError) as raised:
                sink.send([event()])
            texts += [str(raised.value), repr(raised.value)]
            assert raised.value.__cause__ is None
            assert raised.value.__context__ is None
        assert not any(secret in text for text in texts)

    def test_ignores_proxies_of_the_environment(
        self, sink: Sink, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trap = FaultServer(lambda sock: None)
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, trap.url)
        sink.send([event()])
        trap.stop()
        assert trap.accepted == 0
        assert len(self.ids(receiver)) == 1
