"""Rates and budgets by API key, tenant and address; off unless they are set. T-13, T-14."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tsp.doubles import Reply, World, call, request, world
from tsp.contract import events
from tsp.guard import FAILED_AT_ONCE
from tsp.limits import Budget, Limits, Rate

Make = Callable[[Limits], World]


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Make]:
    made: list[World] = []

    def make(limits: Limits) -> World:
        made.append(world(tmp_path, limits=limits))
        return made[-1]

    yield make
    for one in made:
        one.plane.close()


async def many(app: Any, count: int, route: str = "document/wrap", **more: Any) -> list[Reply]:
    return [await call(app, route, request(**more)) for _ in range(count)]


async def test_the_first_unwrap_above_the_budget_is_refused_with_one_event(limited: Make) -> None:
    """T-13: 1,000 a minute, and the 1,001st gets 429. The event is there with the answer, once, and the other tenant
    notices nothing."""
    one = limited(Limits(unwrap_budget=1000))
    app = one.plane.app
    edek = (await call(app, "document/wrap", request())).json()["edek"]
    replies = await many(app, 1003, "document/unwrap", encryptedDocumentKey=edek)
    assert [reply.status for reply in replies] == [200] * 1000 + [429] * 3
    assert replies[-1].json()["code"] == 100
    assert 1 <= int(replies[-1].headers[b"retry-after"]) <= 61
    told = one.trail.of(events.LIMIT_REACHED)
    assert [(event.tenant, event.outcome, event.ray_id) for event in told] == [
        ("a", "refused", replies[1000].headers[b"x-ray-id"].decode())
    ]
    assert "1000" in told[0].reason
    assert len(one.trail.of(events.UNWRAP)) == 1000
    assert (await call(app, "document/wrap", request())).status == 200
    theirs = (await call(app, "document/wrap", request("b"))).json()["edek"]
    assert (await call(app, "document/unwrap", request("b", encryptedDocumentKey=theirs))).status == 200
    one.clock.advance(121)
    assert (await call(app, "document/unwrap", request(encryptedDocumentKey=edek))).status == 200
    assert app.guard.refused["budget"] == 3


async def test_each_key_of_a_batch_and_each_rekey_counts_towards_the_budget(limited: Make) -> None:
    """A batch that does not fit is refused as a whole, and uses nothing up."""
    one = limited(Limits(unwrap_budget=5))
    app = one.plane.app
    edek = (await call(app, "document/wrap", request())).json()["edek"]
    asked = {str(number): edek for number in range(4)}
    assert (await call(app, "document/batch-unwrap", request(edeks=asked))).status == 200
    assert (await call(app, "document/batch-unwrap", request(edeks=list(asked.values())))).status == 429
    assert (await call(app, "document/rekey", request(encryptedDocumentKey=edek, newTenantId="b"))).status == 200
    assert (await call(app, "document/rekey", request(encryptedDocumentKey=edek, newTenantId="b"))).status == 429
    one.clock.advance(121)
    assert (await call(app, "document/batch-rekey", request(edeks=asked, newTenantId="b"))).status == 200
    assert (await call(app, "document/batch-rekey", request(edeks=asked, newTenantId="b"))).status == 429


async def test_a_tenant_above_its_rate_waits_and_the_others_do_not(limited: Make) -> None:
    one = limited(Limits(per_tenant=10))
    statuses = [reply.status for reply in await many(one.plane.app, 12)]
    assert statuses == [200] * 10 + [429] * 2
    assert (await call(one.plane.app, "document/wrap", request("b"))).status == 200
    assert len(one.trail.of(events.LIMIT_REACHED)) == 1
    one.clock.advance(0.11)
    assert [reply.status for reply in await many(one.plane.app, 2)] == [200, 429]


async def test_a_key_above_its_rate_is_refused_before_its_body_is_read(limited: Make) -> None:
    one = limited(Limits(per_key=10))
    replies = await many(one.plane.app, 11)
    assert [reply.status for reply in replies] == [200] * 10 + [429]
    assert (replies[-1].headers[b"read"], replies[-1].headers[b"connection"]) == (b"0", b"close")
    assert one.plane.app.guard.refused == {"key": 1}


async def test_an_unknown_tenant_uses_up_nothing_and_is_kept_nowhere(limited: Make) -> None:
    one = limited(Limits(per_tenant=1, unwrap_budget=1))
    replies = [await call(one.plane.app, "document/wrap", request(f"x{number}")) for number in range(5)]
    assert [reply.json()["code"] for reply in replies] == [201] * 5


async def test_wrong_keys_are_limited_by_address_and_good_keys_never(direct: World) -> None:
    """T-14: the flood gets a shorter answer, and whoever shares its address with a good key notices nothing."""
    app = direct.plane.app
    replies = [await call(app, "document/wrap", b"", key="cmk wrong") for _ in range(FAILED_AT_ONCE + 5)]
    assert [reply.status for reply in replies] == [401] * FAILED_AT_ONCE + [429] * 5
    assert all(reply.headers[b"read"] == b"0" and reply.headers[b"connection"] == b"close" for reply in replies)
    assert (await call(app, "document/wrap", request())).status == 200
    direct.clock.advance(1)
    assert (await call(app, "document/wrap", b"", key="cmk wrong")).status == 401
    assert app.guard.refused["failed-auth"] == 5


async def test_without_settings_there_is_no_limit(direct: World) -> None:
    assert {reply.status for reply in await many(direct.plane.app, 300)} == {200}


async def test_a_full_trail_does_not_open_the_budget(limited: Make) -> None:
    one = limited(Limits(per_tenant=1))
    await call(one.plane.app, "document/wrap", request())
    one.trail.full = True
    assert (await call(one.plane.app, "document/wrap", request())).status == 429


@given(st.lists(st.floats(0, 1), max_size=200), st.integers(1, 20))
def test_a_rate_holds_over_any_stretch_of_time(pauses: list[float], per_second: int) -> None:
    """Never more than the burst and what came in since."""
    rate, now, taken = Rate(per_second, per_second), 1000.0, []
    for pause in pauses:
        now += pause
        if not rate.take("a", now):
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= per_second + (taken[last] - start) * per_second + 1e-3


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 12)), max_size=60), st.integers(1, 30))
def test_a_budget_is_never_exceeded_by_more_than_its_sliding_minute_allows(
    steps: list[tuple[float, int]], most: int
) -> None:
    """At most the budget at once, twice as much in any 60 seconds, and the budget a minute in the long run."""
    budget, now, taken = Budget(most), 1000.0, []
    for pause, count in steps:
        now += pause
        if not budget.take("a", count, now):
            taken.append((now, count))
    for start, _ in taken:
        assert sum(count for at, count in taken if start <= at < start + 60) <= 2 * most
    assert sum(count for _, count in taken) <= most * (2 + (now - 1000) / 60)


def test_ten_thousand_tenants_take_little_memory() -> None:
    """And names that asked for nothing lately are forgotten."""
    tracemalloc.start()
    rate, budget = Rate(10, 10), Budget(1000)
    for number in range(10_000):
        rate.take(f"tenant-{number}", 1.0)
        budget.take(f"tenant-{number}", 1, 1.0)
    size = tracemalloc.get_traced_memory()[0]
    assert size < 6_000_000
    for number in range(200_000):
        rate.take(f"other-{number}", 1.0 + number)
    assert tracemalloc.get_traced_memory()[0] < 2 * size
    tracemalloc.stop()


async def test_a_thousand_at_once_do_not_get_past_the_budget(limited: Make) -> None:
    one = limited(Limits(unwrap_budget=100))
    edek = (await call(one.plane.app, "document/wrap", request())).json()["edek"]
    asked = request(encryptedDocumentKey=edek)
    replies = await asyncio.gather(*(call(one.plane.app, "document/unwrap", asked) for _ in range(300)))
    assert sum(reply.status == 200 for reply in replies) <= 100
    assert sum(reply.status == 429 for reply in replies) >= 200
    assert json.loads(replies[-1].body)["code"] == 100
