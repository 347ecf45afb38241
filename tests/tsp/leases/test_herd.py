"""Many at once: one call for all who wait, few for all who start, no tenant in another's way. R-1, R-28, R-33."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from encrypted_fields.core.errors import CmkError, InvalidEdek, KmsConfigDisabled, KmsUnwrapFailed, KmsWrapFailed
from tests.tsp.leases.conftest import Worlds
from tests.tsp.leases.key_service import CORRUPT, HANG, OK
from tests.tsp.leases.world import Issued, World


def _issue(world: World, *names: str, proxy: int = 0) -> list[Issued]:
    made = [world.do(world.wrap(world.proxies[proxy], name)) for name in names]
    assert all(isinstance(one, Issued) for one in made), made
    return made


def _all(world: World, work: list[Any]) -> list[Any]:
    async def gathered() -> list[Any]:
        return await asyncio.gather(*work)

    found: list[Any] = world.do(gathered())
    return found


def test_a_thousand_requests_on_an_expired_lease_make_one_call(worlds: Worlds) -> None:
    """R-28: for each leased key exactly one."""
    world = worlds("north", "south")
    proxy = world.proxies[0]
    north, south = _issue(world, "north", "south")
    world.kms.mode.update(north=HANG, south=HANG)
    world.advance(3_700.0)
    world.kms.mode.clear()
    world.kms.delay.update(north=0.1, south=0.1)
    before = len(world.kms.log)
    outcomes = _all(world, [world.unwrap(proxy, north if n % 2 else south) for n in range(1_000)])
    assert not [one for one in outcomes if isinstance(one, CmkError)]
    assert Counter((call.tenant, call.operation) for call in world.kms.log[before:]) == {
        ("north", "unwrap"): 1,
        ("south", "unwrap"): 1,
    }


def test_who_waits_for_a_hung_key_service_is_answered_within_ten_seconds(worlds: Worlds) -> None:
    """R-28: bounded, with a typed error, and still one call at a time."""
    world = worlds()
    north = _issue(world, "north")[0]
    world.kms.mode["north"] = HANG
    world.proxies[0].restart()
    began = world.now()
    outcomes = _all(world, [world.unwrap(world.proxies[0], north) for _ in range(500)])
    assert world.now() - began <= 10.5
    assert {one.code for one in outcomes} == {208}
    world.state_is_sound()


def test_five_hundred_tenants_after_a_restart_are_warm_within_a_minute(worlds: Worlds) -> None:
    """R-28: at most 20 calls to key services in flight, at 100 ms each; a hung one among them takes nobody's place."""
    names = [f"tenant-{number}" for number in range(500)]
    world = worlds(*names)
    issued = _issue(world, *names)
    world.kms.delay.update(dict.fromkeys(names, 0.1))
    world.kms.mode["tenant-0"] = HANG
    world.proxies[0].restart()
    world.kms.busiest = 0
    began = world.now()
    outcomes = _all(world, [world.unwrap(world.proxies[0], one) for one in issued])
    assert [one.tenant for one, dek in zip(issued, outcomes, strict=True) if dek != one.dek] == ["tenant-0"]
    assert world.now() - began <= 60.0
    assert world.kms.busiest <= 20


def test_one_tenants_hung_key_service_slows_no_other_lease(worlds: Worlds) -> None:
    """R-1: twenty tenants start, one of them hangs; the others are there in their own time."""
    names = [f"tenant-{number}" for number in range(20)]
    world = worlds(*names)
    issued = _issue(world, *names)
    world.proxies[0].restart()
    world.kms.mode["tenant-7"] = HANG
    took: dict[str, float] = {}

    async def ask(one: Issued) -> None:
        began = world.now()
        if not isinstance(await world.unwrap(world.proxies[0], one), CmkError):
            took[one.tenant] = world.now() - began

    _all(world, [ask(one) for one in issued * 5])
    assert len(took) == 19
    assert max(took.values()) < 0.05


@pytest.mark.parametrize("bad", [1, 10])
def test_a_batch_of_a_thousand_fails_only_where_it_must(worlds: Worlds, bad: int) -> None:
    """R-33: 990 keys and 10 typed errors, in the order of the request, each with its event."""
    world = worlds("north", "south")
    proxy = world.proxies[0]
    good = _issue(world, *["north"] * 50) * 20
    foreign = _issue(world, "south")[0]
    flipped = Issued("north", good[0].edek[:40] + bytes([good[0].edek[40] ^ 1]) + good[0].edek[41:], b"")
    wrong = {97 * n: [foreign, flipped, Issued("north", b"\x0a\x00", b"")][n % 3] for n in range(bad)}
    batch = [wrong.get(n, one) for n, one in enumerate(good)]
    batch[0], wrong = Issued("north", b"nonsense", b""), {0: foreign, **wrong}
    before = len(world.trail.events)
    reply = world.do(world.unwrap_all(proxy, batch))
    assert list(reply.keys) == [str(n) for n in range(1_000) if n not in wrong]
    assert list(reply.failures) == [str(n) for n in sorted(wrong)]
    assert {failure.code for failure in reply.failures.values()} <= {
        InvalidEdek.code, KmsConfigDisabled.code, KmsUnwrapFailed.code,
    }  # fmt: skip
    outcomes = Counter(event.outcome for event in world.trail.events[before:] if event.action == "dek.unwrap")
    assert outcomes["success"] == 1_000 - len(wrong)
    assert sum(outcomes.values()) == 1_000


def test_a_key_service_that_flips_a_bit_makes_no_edek(worlds: Worlds) -> None:
    """R-30: a new leased key is unwrapped and compared before anything is wrapped under it; nothing of it stays."""
    world = worlds()
    proxy = world.proxies[0]
    world.kms.mode["north"] = CORRUPT
    outcomes = [world.do(world.wrap(proxy, "north")) for _ in range(50)]
    assert {type(one) for one in outcomes} == {KmsWrapFailed}
    assert not world.redis.values
    assert not list(proxy.leases.all())
    world.kms.mode["north"] = OK
    assert isinstance(world.do(world.wrap(proxy, "north")), Issued)


def test_losing_all_of_redis_loses_no_key(worlds: Worlds) -> None:
    """R-31: wiped between every wrap, and every proxy new: all EDEKs open, each on each."""
    world = worlds("north", "south", proxies=3)
    for number in range(30):
        _issue(world, "north", "south", proxy=number % 3)
        world.redis.flush()
        world.proxies[number % 3].restart()
    world.redis.flush()
    for proxy in world.proxies:
        proxy.restart()
        assert [world.do(world.unwrap(proxy, one)) for one in world.issued] == [one.dek for one in world.issued]


def test_a_thousand_races_make_one_leased_key_each(worlds: Worlds) -> None:
    """R-27: whoever is later adopts; both EDEKs open on both, and nothing of the loser's key stays."""
    world = worlds(proxies=2)
    for race in range(1_000):
        world.redis.flush()
        world.kms.delay["north"] = 0.001 * (race % 7)
        for proxy in world.proxies:
            proxy.restart()
        made = _all(world, [world.wrap(proxy, "north") for proxy in world.proxies])
        assert len(set(world.active("north").values())) == 1
        assert [len(proxy.held("north").leases) for proxy in world.proxies] == [1, 1]
        for proxy in world.proxies:
            assert [world.do(world.unwrap(proxy, one)) for one in made] == [one.dek for one in made]
