"""The signed webhook: the contract, verified by a library that is not ours."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

import pytest

from tests.support.hec import Hook, Receiver
from tests.tsp.siem.contract import SinkContract, event
from tsp.contract.options import OptionError, load
from tsp.egress import Egress
from tsp.siem.base import Sink, SinkError
from tsp.siem.webhook import SignedWebhook

SECRET = "whsec_" + base64.b64encode(b"the signing secret of the tests!").decode()


class _Webhook(SinkContract):
    shape = "cmk"

    @pytest.fixture
    def secret(self) -> str:
        return SECRET

    @pytest.fixture
    def receiver(self) -> Iterator[Hook]:
        server = Hook(SECRET)
        yield server
        server.stop()

    @pytest.fixture
    def sink(self, receiver: Hook, egress: Egress) -> SignedWebhook:
        options = {"url": receiver.url + "/cmk?x=1", "secret": SECRET, "shape": self.shape}
        return SignedWebhook(load(SignedWebhook.Config, options), egress)


class TestWebhook(_Webhook):
    def ids(self, receiver: Receiver) -> list[str]:
        return [one["id"] for one in receiver.events]

    def test_a_batch_keeps_its_id_when_it_is_sent_again(self, sink: Sink, receiver: Hook) -> None:
        batch = [event(1), event(2)]
        for events in (batch, batch, batch[:1]):
            sink.send(events)
        first, second, third = (headers["webhook-id"] for _, headers, _ in receiver.requests)
        assert first == second != third

    def test_another_secret_is_refused(self, receiver: Hook, egress: Egress) -> None:
        other = "whsec_" + base64.b64encode(os.urandom(32)).decode()
        sink = SignedWebhook(load(SignedWebhook.Config, {"url": receiver.url, "secret": other}), egress)
        with pytest.raises(SinkError) as raised:
            sink.send([event()])
        assert raised.value.refused
        assert receiver.events == []


class TestWebhookInEcs(_Webhook):
    shape = "ecs"

    def ids(self, receiver: Receiver) -> list[str]:
        return [one["event"]["id"] for one in receiver.events]


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAAA", "whsec_!!!!", base64.b64encode(bytes(32)).decode()])
def test_a_secret_that_is_none_is_told_without_being_shown(secret: str) -> None:
    with pytest.raises(OptionError) as raised:
        SignedWebhook(SignedWebhook.Config("https://siem.example/", secret), Egress())
    assert secret == "whsec_" or secret not in str(raised.value)
