"""Splunk HEC: the contract, plain and with acknowledgement, and HEC's own codes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ca import Authority
from tests.support.hec import Hec, Receiver
from tests.tsp.siem.contract import SinkContract, event
from tsp.contract.options import load
from tsp.egress import Egress
from tsp.siem import splunk
from tsp.siem.base import SinkError
from tsp.siem.splunk import SplunkHec

TOKEN = "8d2b1a5e-hec-token-of-the-tests"


class TestHec(SinkContract):
    acks = False

    def ids(self, receiver: Receiver) -> list[str]:
        return [one["fields"]["event_id"] for one in receiver.events]

    @pytest.fixture
    def secret(self) -> str:
        return TOKEN

    @pytest.fixture
    def receiver(self) -> Iterator[Hec]:
        server = Hec(TOKEN, acks=self.acks)
        yield server
        server.stop()

    @pytest.fixture
    def sink(self, receiver: Hec, egress: Egress) -> SplunkHec:
        return SplunkHec(load(SplunkHec.Config, {"url": receiver.url, "token": TOKEN, "ack": self.acks}), egress)

    def test_events_carry_time_host_source_and_everything_recorded(self, sink: SplunkHec, receiver: Hec) -> None:
        sent = event(7, code=206, leased=True)
        sink.send([sent])
        (found,) = receiver.events
        assert found["time"] == 1_700_000_007
        assert (found["host"], found["source"], found["sourcetype"]) == ("tsp-1", "cmk", "cmk:audit")
        assert found["event"]["format"] == 1
        assert found["event"]["id"] == sent.id
        assert found["event"]["custom"] == sent.custom
        assert (found["event"]["code"], found["event"]["leased"]) == (206, True)

    def test_a_page_that_answers_200_is_not_hec(self, sink: SplunkHec, receiver: Hec) -> None:
        receiver.mode = "page"
        with pytest.raises(SinkError) as raised:
            sink.send([event()])
        assert raised.value.refused

    @pytest.mark.parametrize("options", [{"token": "wrong"}, {"index": "other"}])
    def test_wrong_settings_do_not_condemn_the_events(
        self, receiver: Hec, egress: Egress, options: dict[str, str]
    ) -> None:
        """R-20: else good events would end as dead letters."""
        config = load(SplunkHec.Config, {"url": receiver.url, "token": TOKEN, "ack": self.acks, **options})
        with pytest.raises(SinkError) as raised:
            SplunkHec(config, egress).send([event()])
        assert (raised.value.refused, raised.value.permanent) == (True, False)


class TestHecWithAcknowledgement(TestHec):
    acks = True

    @pytest.fixture(autouse=True)
    def _quick_polls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(splunk, "ACK_PAUSE", 0.02)
        monkeypatch.setattr(splunk, "ACK_SECONDS", 0.5)

    def test_returns_only_when_the_events_are_indexed(self, sink: SplunkHec, receiver: Hec) -> None:
        """R-21: 200 is not yet indexed."""
        receiver.ack_after = 5
        sink.send([event()])
        assert [path for path, _, _ in receiver.requests].count("/services/collector/ack") == 5

    def test_events_that_are_never_indexed_are_sent_again(self, sink: SplunkHec, receiver: Hec) -> None:
        receiver.ack_after = 10_000
        with pytest.raises(SinkError) as raised:
            sink.send([event()])
        assert (raised.value.permanent, raised.value.refused) == (False, False)


def test_a_token_without_acknowledgement_is_found_out() -> None:
    receiver, egress = Hec(TOKEN, acks=False), Egress(["127.0.0.0/8"])
    sink = SplunkHec(load(SplunkHec.Config, {"url": receiver.url, "token": TOKEN, "ack": True}), egress)
    with pytest.raises(SinkError) as raised:
        sink.send([event()])
    assert raised.value.refused
    receiver.stop()
    egress.close()


def test_speaks_tls_with_a_private_ca_and_only_with_it() -> None:
    authority, egress = Authority(), Egress(["127.0.0.0/8"])
    receiver = Hec(TOKEN, tls=authority.server())
    options = {"url": receiver.url, "token": TOKEN}
    SplunkHec(load(SplunkHec.Config, {**options, "ca_pem": authority.pem}), egress).send([event()])
    with pytest.raises(SinkError) as raised:
        SplunkHec(load(SplunkHec.Config, options), egress).send([event()])
    assert not raised.value.refused  # T-15: bad TLS is an outage, not a refusal
    assert len(receiver.events) == 1
    receiver.stop()
    egress.close()
