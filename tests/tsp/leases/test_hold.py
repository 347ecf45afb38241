"""A key service that does not answer: leased keys serve for an hour after their last proof, and not a second longer."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from encrypted_fields.core.errors import CmkError, KmsThrottled, KmsUnreachable
from tests.tsp.leases.conftest import Worlds
from tests.tsp.leases.key_service import BROKEN, FAULTS, HANG, OK, THROTTLE
from tests.tsp.leases.world import Customer, Issued, World
from tsp.contract.tenant import Leasing
from tsp.leases.lease import life


def _issue(world: World, tenant: str = "north") -> Issued:
    issued = world.do(world.wrap(world.proxies[0], tenant))
    assert isinstance(issued, Issued)
    return issued


def _outcomes(world: World, issued: Issued, seconds: float, every: float = 1.0) -> list[tuple[float, Any]]:
    """(seconds since the last proof, outcome) of one unwrap `every` so often, while the renewal runs by itself."""
    [proof] = [world.kms.proofs[key][-1].at for key in world.kms.proofs if key[0] == issued.tenant][-1:]

    async def ask() -> list[tuple[float, Any]]:
        until, found = world.now() + seconds, []
        while world.now() < until:
            at = world.now() - proof
            found.append((at, await world.unwrap(world.proxies[0], issued)))
            await asyncio.sleep(every)
        return found

    found: list[tuple[float, Any]] = world.do(ask())
    return found


def _attempts(world: World, since: float, apart: float = 0.45) -> list[float]:
    """When proofs were asked for; tries within one attempt count as one."""
    found: list[float] = []
    last = float("-inf")
    for call in world.kms.log:
        if call.at >= since and call.operation == "unwrap":
            if call.at - last > apart:
                found.append(call.at)
            last = call.arrives
    return found


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("redis", [True, False], ids=["redis", "alone"])
def test_serves_for_an_hour_after_the_last_proof_and_not_longer(worlds: Worlds, fault: str, redis: bool) -> None:
    """R-2, R-4: 100 % up to 3,600 s after the last proof, 0 % after; the key's bytes are gone in that second."""
    world = worlds()
    world.redis.down = not redis
    world.running()
    issued = _issue(world)
    world.loop.spend(700.0)
    _outcomes(world, issued, 5.0)
    proof = world.kms.proofs["north", next(iter(world.kms.proofs))[1]][-1].at
    world.kms.mode["north"] = fault
    world.loop.spend(proof + 60.0 - world.now())

    served = _outcomes(world, issued, proof + 3_590.0 - world.now())  # the proof may be minutes old already
    assert len(served) > 3_300
    assert served[-1][0] > 3_588.0
    assert [at for at, outcome in served if outcome != issued.dek] == []

    [lease] = [lease for _, lease in world.proxies[0].leases.all()]
    for _ in range(300):
        if lease.lek.wiped:
            break
        assert world.now() - proof <= 3_601.0
        world.loop.spend(0.25)
    assert 3_600.0 <= world.now() - proof <= 3_601.0
    late = [world.do(world.unwrap(world.proxies[0], issued)) for _ in range(20)]
    assert {type(outcome) for outcome in late} <= {KmsUnreachable, KmsThrottled}
    assert "lease.expired" in world.trail.actions("north")


@pytest.mark.parametrize("fault", [BROKEN, HANG])
def test_asks_often_while_the_key_service_is_away_and_heals_within_a_minute(worlds: Worlds, fault: str) -> None:
    """R-2: at least 60 attempts in the hour, none in a rush; the first proof at most 60 s after the service is back."""
    world = worlds()
    world.running()
    issued = _issue(world)
    world.kms.mode["north"] = fault
    began = world.now()
    _outcomes(world, issued, 3_500.0, every=50.0)
    attempts = [at for at in _attempts(world, began) if at < began + 3_600]
    assert 60 <= len(attempts) <= 400
    pauses = [later - at for at, later in itertools.pairwise(attempts)]
    assert max(pauses) <= 60.0 + 10.0  # the longest pause, and an attempt that hangs

    world.kms.mode["north"] = OK
    back = world.now()
    world.loop.spend(60.5)
    assert [call for call in world.kms.log if call.at >= back and call.outcome == OK]


def test_a_throttled_tenant_sees_no_error_and_asks_no_more_than_it_may(worlds: Worlds) -> None:
    """R-4: `Retry-After` is honoured up to 300 s; never taken for a refusal."""
    world = worlds()
    world.running()
    issued = _issue(world)
    world.kms.mode["north"], world.kms.retry_after = THROTTLE, 120.0
    began = world.now()
    assert [at for at, outcome in _outcomes(world, issued, 2_400.0, every=10.0) if outcome != issued.dek] == []
    asked = [call.at for call in world.kms.log if call.at >= began]
    assert min(later - at for at, later in itertools.pairwise(asked)) >= 119.9

    world.kms.retry_after = 86_400.0
    world.loop.spend(130.0)
    began = world.now()
    world.kms.mode["north"] = OK
    world.loop.spend(330.0)
    assert [call for call in world.kms.log if call.at > began], "a day of Retry-After was honoured"


@pytest.mark.parametrize("hold", [0, 60, 1800])
def test_a_tenants_shorter_hold_is_kept(worlds: Worlds, hold: int) -> None:
    world = worlds()
    world.customers["north"] = Customer("north", 10, Leasing(enabled=True, renew=60, hold=hold))
    world.running()
    issued = _issue(world)
    world.kms.mode["north"] = HANG
    allowed = life(world.customers["north"].leasing)
    found = _outcomes(world, issued, allowed + 30.0)
    assert all((outcome == issued.dek) == (at <= allowed) for at, outcome in found if abs(at - allowed) > 0.01)
    assert any(isinstance(outcome, CmkError) for _, outcome in found)


def test_a_policy_that_gets_shorter_counts_at_once(worlds: Worlds) -> None:
    world = worlds()
    world.running()
    issued = _issue(world)
    world.kms.mode["north"] = BROKEN
    assert _outcomes(world, issued, 200.0, every=20.0)[-1][1] == issued.dek
    world.customers["north"].leasing = Leasing(enabled=True, renew=60, hold=0)
    world.loop.spend(1.0)
    assert isinstance(world.do(world.unwrap(world.proxies[0], issued)), KmsUnreachable)


def test_a_tenant_that_reads_seldom_is_served_through_the_outage_too(worlds: Worlds) -> None:
    """R-2 has no word on how often a key is used: one read in ten minutes gets its hour as well."""
    world = worlds()
    world.running()
    issued = _issue(world)
    world.loop.spend(5.0)
    _outcomes(world, issued, 1.0)
    world.kms.mode["north"] = BROKEN
    found = _outcomes(world, issued, 3_500.0, every=590.0)
    assert [at for at, outcome in found if outcome != issued.dek] == []


JUMPS = [-86_400.0, -3_600.0, -30.0, 30.0, 3_600.0, 86_400.0]


@pytest.mark.parametrize("jump", JUMPS)
def test_no_jump_of_the_wall_clock_gains_a_second(worlds: Worlds, jump: float) -> None:
    """R-26: whichever clock expires first; set back it extends nothing, set forth it can only shorten."""
    world = worlds()
    world.running()
    issued = _issue(world)
    world.kms.mode["north"] = HANG
    world.loop.spend(100.0)
    world.proxies[0].clock.offset += jump
    found = _outcomes(world, issued, 3_700.0, every=5.0)
    last = max((at for at, outcome in found if outcome == issued.dek), default=0.0)
    assert last <= 3_600.0
    if jump < 0:
        assert last > 3_590.0, "a clock that was set back must not cost the tenant its hour"


@pytest.mark.parametrize("way", ["suspend", "stop signal"])
def test_a_machine_that_slept_does_not_wake_with_an_old_key(worlds: Worlds, way: str) -> None:
    """R-26: the very first request after two hours of sleep, before any round of renewal."""
    world = worlds()
    issued = _issue(world)
    world.kms.mode["north"] = HANG
    if way == "suspend":
        world.suspend(7_200.0)
    else:
        world.loop.now += 7_200.0
    assert isinstance(world.do(world.unwrap(world.proxies[0], issued)), KmsUnreachable)
    world.tick()
    world.state_is_sound()


@pytest.mark.parametrize("ask", ["unwrap", "wrap"])
def test_who_asks_a_machine_that_slept_in_the_middle_of_a_proof_gets_a_key(worlds: Worlds, ask: str) -> None:
    """R-26: the proof on its way is as old as the sleep, so it is asked for once more; two calls for all who wait."""
    world = worlds()
    issued, proxy = _issue(world), world.proxies[0]
    world.kms.delay["north"] = 1.5
    world.do(world.renew(proxy, "north"))
    before = len(world.kms.log)
    world.loop.spend(0.5)
    assert len(world.kms.log) - before <= 1  # the renewal, which is on its way
    world.suspend(86_400.0)

    async def storm() -> list[Any]:
        many = [world.unwrap(proxy, issued) if ask == "unwrap" else world.wrap(proxy, "north") for _ in range(100)]
        return await asyncio.gather(*many)

    outcomes = world.do(storm())
    assert not [one for one in outcomes if isinstance(one, CmkError)]
    assert [call.operation for call in world.kms.log[-2:]] == ["unwrap", "unwrap"]
    assert len(world.kms.log) - before <= 2
    world.state_is_sound()


def test_a_suspended_machine_counts_its_sleep_also_when_the_wall_clock_was_set_back(worlds: Worlds) -> None:
    """R-26: both at once; CLOCK_MONOTONIC would have seen nothing, and the wall clock neither."""
    world = worlds()
    issued = _issue(world)
    world.kms.mode["north"] = HANG
    world.suspend(7_200.0)
    world.proxies[0].clock.offset -= 7_200.0
    assert isinstance(world.do(world.unwrap(world.proxies[0], issued)), KmsUnreachable)


def test_a_hung_redis_delays_no_expiry(worlds: Worlds) -> None:
    """R-2, R-9: rounds go on while Redis takes three seconds to say nothing."""
    world = worlds()
    world.running()
    issued = _issue(world)
    world.kms.mode["north"] = BROKEN
    world.redis.hangs = True
    _outcomes(world, issued, 3_590.0, every=30.0)
    proof = world.kms.proofs["north", next(iter(world.kms.proofs))[1]][-1].at
    [lease] = [lease for _, lease in world.proxies[0].leases.all()]
    world.loop.spend(proof + 3_601.0 - world.now())
    assert lease.lek.wiped
