"""Events as receivers read them."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.tsp.siem.contract import event
from tsp.contract import events
from tsp.siem.formats import ecs, own, shaped


def test_the_format_number_is_always_there() -> None:
    assert json.loads(bytes(own(event())))["format"] == events.FORMAT
    assert json.loads(bytes(shaped(event(), "ecs")))["cmk"]["format"] == events.FORMAT


def test_our_own_form_is_what_the_event_itself_reads_back() -> None:
    sent = event(code=206, leased=True, count=3)
    assert events.load(bytes(own(sent))) == sent
    assert json.loads(bytes(own(sent))) == {"format": events.FORMAT, **msgspec.to_builtins(sent)}


def test_ecs_names_are_where_ecs_has_them() -> None:
    found = ecs(event(code=206, outcome="refused", source_ip="192.0.2.7", requesting_id="clinic", ray_id="r1"))
    assert found["@timestamp"] == "2023-11-14T22:13:20.000Z"
    assert (found["event"]["action"], found["event"]["outcome"], found["event"]["dataset"]) == (
        "dek.unwrap",
        "failure",
        "cmk.audit",
    )
    assert (found["organization"]["id"], found["user"]["id"], found["source"]["address"]) == (
        "tenant-a",
        "clinic",
        "192.0.2.7",
    )
    assert (found["error"]["code"], found["trace"]["id"], found["observer"]["name"]) == ("206", "r1", "tsp-1")


@pytest.mark.parametrize("shape", ["cmk", "ecs"])
def test_every_form_holds_the_id_once_to_drop_repeats_by(shape: str) -> None:
    sent = event()
    assert sent.id in bytes(shaped(sent, shape)).decode()
