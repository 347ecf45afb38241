"""Audit events: they round-trip, sort by time, and nothing else is taken for one."""

from __future__ import annotations

import json
import re
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tsp.contract.draw import json_values, often, text
from tsp.contract import events
from tsp.contract.events import AuditEvent

EVENT = AuditEvent(id="0" * 32, time="t", vendor="v", tenant="a", action=events.WRAP, outcome=events.SUCCESS)
drawn = st.builds(
    AuditEvent, id=text, time=text, vendor=text, tenant=text, action=text, outcome=text, code=st.integers(0, 65_535),
    reason=text, object_id=text, config=st.integers(0, 2**31 - 1), leased=st.booleans(), count=st.integers(1, 1000),
    custom=st.dictionaries(text, text, max_size=3),
)  # fmt: skip


hexdigits = st.text("0123456789abcdef", max_size=32)


@often
@given(drawn)
def test_reads_back_what_it_wrote_as_one_line(event: AuditEvent) -> None:
    data = events.dump(event)
    assert b"\n" not in data
    assert events.load(data) == event


@often
@given(drawn, hexdigits, hexdigits, text)
def test_a_line_that_was_filled_in_is_what_its_event_gives(event: AuditEvent, key: str, mark: str, target: str) -> None:
    """ADR 14: the keys of a batch; whatever the event says of itself, and whatever it is filled with."""
    line = events.Blank(event).line(key, mark, target)
    assert events.load(line) == msgspec.structs.replace(event, id=key, edek=mark, object_id=target)


def test_a_filled_in_line_leaves_out_what_says_nothing() -> None:
    assert events.Blank(EVENT).line(EVENT.id, "", "") == events.dump(EVENT)
    assert events.Blank(EVENT).line(EVENT.id, "ab", "") == events.dump(msgspec.structs.replace(EVENT, edek="ab"))


def test_lines_are_their_events() -> None:
    made = [EVENT, msgspec.structs.replace(EVENT, id="1", tenant="b")]
    lines = events.Written([events.line(event) for event in made])
    assert list(lines) == made == lines[:] == [lines[0], lines[1]]
    assert events.written(made) == events.written(lines) == lines.lines
    assert len(lines) == 2


@often
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_raise_nothing_but_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        events.load(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(events.dump(EVENT)[:-1] + b',"format":2}', id="a later format"),
        pytest.param(events.dump(EVENT)[:-1] + b',"x":' + b"[" * 100_000, id="nested without end"),
        pytest.param(events.dump(EVENT) + b"{}", id="something after it"),
        pytest.param(b'{"id":"1"}', id="members missing"),
        pytest.param(events.dump(EVENT).replace(b'"v"', b"1"), id="a number for a text"),
    ],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        events.load(data)


def test_leaves_out_what_says_nothing() -> None:
    assert set(json.loads(events.dump(EVENT))) == {"id", "time", "vendor", "tenant", "action", "outcome"}


def test_ids_are_unique_and_sort_by_time() -> None:
    first = events.new_id()
    time.sleep(0.002)
    later = {events.new_id() for _ in range(1000)}
    assert len(later) == 1000
    assert all(len(found) == 32 and first < found for found in later)


def test_stamps_of_many_events_are_ids_and_the_time_of_one_moment() -> None:
    before = events.new_id()
    time.sleep(0.002)
    made = events.stamps(1000)
    time.sleep(0.002)
    ids = {identity for identity, _ in made}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", found) and before < found < events.new_id() for found in ids)
    assert {at for _, at in made} == {events.timestamp(events.made(made[0][0]))}
    assert events.stamps(0) == []


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1769903999.1234, "2026-01-31T23:59:59.123Z"),
        (1769903999.9996, "2026-02-01T00:00:00.000Z"),
    ],
)
def test_time_is_utc_with_milliseconds(seconds: float, shown: str) -> None:
    assert events.timestamp(seconds) == shown
