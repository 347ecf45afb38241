"""The way to the key services: shares, deadlines, tries. R-1, R-3, R-4."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from encrypted_fields.core.errors import KmsRefused, KmsThrottled, KmsUnreachable, Overloaded
from tsp.gate import KmsGate


@pytest.fixture
def door() -> Iterator[threading.Event]:
    """Calls that wait for it hang; it opens at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def gate() -> KmsGate:
    return KmsGate(total=12, per_key=8)


async def test_a_hung_key_service_takes_no_more_than_its_share(door: threading.Event) -> None:
    """R-1: the others are served while eight calls of one tenant hang."""
    passage = gate()
    hung = [
        asyncio.create_task(passage.call(("slow", 1), "unwrap", lambda: door.wait(20), seconds=0.2, tries=1))
        for _ in range(30)
    ]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    served = await asyncio.gather(*(passage.call(("fine", 2), "unwrap", lambda: 1) for _ in range(100)))
    assert (sum(served), time.monotonic() - began < 1.0) == (100, True)
    outcomes = await asyncio.gather(*hung, return_exceptions=True)
    assert {type(one) for one in outcomes} == {KmsUnreachable, Overloaded}
    assert sum(isinstance(one, KmsUnreachable) for one in outcomes) == 8
    passage.close()


async def test_a_hung_thread_keeps_its_place_until_it_ends(door: threading.Event) -> None:
    passage = KmsGate(total=2, per_key=1)
    with pytest.raises(KmsUnreachable):
        await passage.call(("slow", 1), "unwrap", lambda: door.wait(20), seconds=0.05, tries=1)
    with pytest.raises(Overloaded):
        await passage.call(("slow", 1), "unwrap", lambda: 1, seconds=0.05)
    door.set()
    await asyncio.sleep(0.05)
    assert await passage.call(("slow", 1), "unwrap", lambda: 1) == 1
    passage.close()


async def test_tries_again_when_unreachable_and_within_two_seconds() -> None:
    """R-3: two faults are not seen; the fourth is the answer."""
    passage, calls = gate(), 0

    def fail(times: int) -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise KmsUnreachable
        return calls

    assert await passage.call(("a", 1), "unwrap", lambda: fail(2)) == 3
    calls, began = 0, time.monotonic()
    with pytest.raises(KmsUnreachable):
        await passage.call(("a", 1), "unwrap", lambda: fail(99))
    assert (calls, time.monotonic() - began < 2.0) == (4, True)
    passage.close()


async def test_a_refusal_is_not_asked_twice() -> None:
    passage, calls = gate(), []

    def refuse() -> None:
        calls.append(1)
        raise KmsRefused

    with pytest.raises(KmsRefused):
        await passage.call(("a", 1), "unwrap", refuse)
    assert calls == [1]
    assert passage.outcomes["unwrap", "KmsRefused"] == 1
    passage.close()


async def test_a_throttled_key_service_is_left_alone_for_as_long_as_it_asked() -> None:
    """R-4: the pause is the tenant's own; others are not held up."""
    passage, calls = gate(), []

    def throttle() -> None:
        calls.append(1)
        raise KmsThrottled(retry_after=30)

    for _ in range(5):
        with pytest.raises(KmsThrottled):
            await passage.call(("a", 1), "unwrap", throttle)
    assert calls == [1]
    assert await passage.call(("b", 1), "unwrap", lambda: 1) == 1
    passage.close()
