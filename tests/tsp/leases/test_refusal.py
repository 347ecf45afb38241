"""The tenant says no: how soon the last key leaves one proxy and the fleet, and how access comes back. R-5, R-6."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from encrypted_fields.core.errors import CmkError, KmsRefused
from tests.support.virtual_time import VirtualLoop
from tests.tsp.leases.conftest import Worlds
from tests.tsp.leases.key_service import HANG, OK, REFUSE
from tests.tsp.leases.world import Issued, Proxy, World
from tsp.contract.tenant import Leasing

PHASES = range(0, 330, 30)  # seconds since the first use at which the tenant says no


def _in_use(world: World, proxies: list[Proxy], every: float = 0.05) -> dict[str, list[float]]:
    """Each proxy unwraps all the time; the times at which it released a key."""
    issued = world.do(world.wrap(proxies[0], "north"))
    assert isinstance(issued, Issued)
    released: dict[str, list[float]] = {proxy.name: [] for proxy in proxies}

    async def use(proxy: Proxy) -> None:
        while True:
            if not isinstance(await world.unwrap(proxy, issued), CmkError):
                released[proxy.name].append(world.now())
            await asyncio.sleep(every)

    for proxy in proxies:
        world.loop.create_task(use(proxy))
    return released


@pytest.mark.parametrize("delay", [0.001, 0.5])
@pytest.mark.parametrize("phase", PHASES)
def test_after_the_refusal_is_heard_nothing_leaves_the_process(worlds: Worlds, phase: int, delay: float) -> None:
    """R-5: from the key service's reply to the last release at most one second; here it is none."""
    world = worlds()
    world.redis.down = True
    proxy = world.proxies[0]
    released = _in_use(world, [proxy])
    world.running()
    world.loop.spend(phase + 1.0)
    world.kms.mode["north"], world.kms.delay["north"] = REFUSE, delay
    world.trail.delay = 0.2  # so that keys are in hand while the refusal arrives
    said = world.now()
    world.loop.spend(335.0)
    heard = proxy.first_no["north"]
    assert heard - said <= 330.0
    assert max(released[proxy.name]) <= heard
    assert not proxy.held("north").leases
    assert "lease.refused" in world.trail.actions("north")


@pytest.mark.parametrize("seed", range(12))
def test_with_redis_the_fleet_is_shut_five_seconds_after_the_first_hears_it(worlds: Worlds, seed: int) -> None:
    """R-5: five proxies whose wall clocks do not agree, the tenant's no at any moment."""
    draw = random.Random(seed)
    world = worlds(proxies=5)
    for proxy in world.proxies:
        proxy.clock.offset = draw.uniform(-120.0, 120.0)
    released = _in_use(world, world.proxies, every=0.25)
    world.running()
    world.loop.spend(draw.uniform(1.0, 600.0))
    world.kms.mode["north"] = REFUSE
    world.loop.spend(335.0)
    first = min(proxy.first_no["north"] for proxy in world.proxies)
    assert max(max(times) for times in released.values()) - first <= 5.0
    assert not any(proxy.held("north").leases for proxy in world.proxies)


@pytest.mark.parametrize("seed", range(6))
def test_without_redis_every_proxy_finds_out_within_330_seconds(worlds: Worlds, seed: int) -> None:
    """R-5: each by its own renewal."""
    draw = random.Random(seed)
    world = worlds(proxies=3)
    world.redis.down = True
    released = _in_use(world, world.proxies, every=0.5)
    world.running()
    world.loop.spend(draw.uniform(1.0, 900.0))
    world.kms.mode["north"] = REFUSE
    said = world.now()
    world.loop.spend(400.0)
    assert max(max(times) for times in released.values()) - said <= 330.0


def test_a_worker_that_hears_it_shuts_the_fleet(worlds: Worlds) -> None:
    world = worlds(proxies=3)
    released = _in_use(world, world.proxies)
    world.running()
    world.loop.spend(245.0)
    world.kms.mode["north"] = REFUSE
    assert world.worker().refused == 1
    heard = world.now()
    world.loop.spend(20.0)
    assert max(max(times) for times in released.values()) - heard <= 5.0


@pytest.mark.parametrize("how", ["unwrap", "wrap", "batch", "rekey"])
def test_a_key_in_hand_does_not_leave_when_the_refusal_comes_first(worlds: Worlds, how: str) -> None:
    """R-5: the event is being written, the refusal arrives, the key stays; the trail has both."""
    world = worlds()
    proxy = world.proxies[0]
    issued = world.do(world.wrap(proxy, "north"))
    world.trail.delay = 0.5

    async def ask() -> Any:
        if how == "batch":
            return await world.unwrap_all(proxy, [issued] * 3)
        if how == "rekey":
            return await world.rekey(proxy, issued, "north")
        return await (world.wrap(proxy, "north") if how == "wrap" else world.unwrap(proxy, issued))

    async def race() -> Any:
        asked = asyncio.ensure_future(ask())
        await asyncio.sleep(0.25)
        world.kms.mode["north"] = REFUSE
        await world.renew(proxy, "north")
        return await asked

    outcome = world.do(race())
    if how == "batch":
        assert [failure.code for failure in outcome.failures.values()] == [KmsRefused.code] * 3
        assert not outcome.keys
    else:
        assert isinstance(outcome, KmsRefused)
    assert [event.outcome for event in world.trail.events if event.action.startswith("dek.")][-1] == "refused"


def test_a_refused_direct_call_ends_the_leases_of_that_key(worlds: Worlds) -> None:
    """R-5: EDEKs made before leasing was switched on are unwrapped by the key service itself."""
    world = worlds()
    proxy = world.proxies[0]
    world.customers["north"].leasing = Leasing(enabled=False)
    direct = world.do(world.wrap(proxy, "north"))
    world.customers["north"].leasing = Leasing(enabled=True)
    leased = world.do(world.wrap(proxy, "north"))
    world.kms.mode["north"] = REFUSE
    assert world.do(world.unwrap(proxy, leased)) == leased.dek
    assert isinstance(world.do(world.unwrap(proxy, direct)), KmsRefused)
    assert isinstance(world.do(world.unwrap(proxy, leased)), KmsRefused)
    world.state_is_sound()


def test_one_tenants_no_is_nobody_elses(worlds: Worlds) -> None:
    world = worlds("north", "south")
    proxy = world.proxies[0]
    issued = [world.do(world.wrap(proxy, name)) for name in world.names]
    world.running()
    world.kms.mode["north"] = REFUSE
    world.do(world.renew(proxy, "north"))
    world.loop.spend(1.0)
    outcomes = [world.do(world.unwrap(proxy, one)) for one in issued]
    assert isinstance(outcomes[0], KmsRefused)
    assert outcomes[1] == issued[1].dek


@pytest.mark.parametrize("asked", [True, False], ids=["with requests", "without a request"])
def test_access_that_is_given_back_heals_by_itself(worlds: Worlds, asked: bool) -> None:
    """R-6: at most 330 s, no restart, one event, also when the key service hung in between."""
    world = worlds()
    proxy = world.proxies[0]
    released = _in_use(world, [proxy], every=2.0) if asked else {}
    issued = world.issued[0] if asked else world.do(world.wrap(proxy, "north"))
    world.running()
    world.kms.mode["north"] = REFUSE
    world.do(world.renew(proxy, "north"))
    world.loop.spend(1_000.0)
    world.kms.mode["north"] = HANG
    world.loop.spend(500.0)
    assert world.trail.actions("north").count("access.restored") == 0
    world.kms.mode["north"] = OK
    back = world.now()
    world.loop.spend(331.0)
    assert world.trail.actions("north").count("access.restored") == 1
    if asked:
        assert min(at for at in released[proxy.name] if at > back) - back <= 330.0
    assert world.do(world.unwrap(proxy, issued)) == issued.dek


def test_a_refused_key_service_is_not_flooded(worlds: Worlds) -> None:
    """Each of 100 requests a second is refused; the key service hears about one of them."""
    world = worlds()
    _in_use(world, world.proxies, every=0.01)
    world.running()
    world.kms.mode["north"] = REFUSE
    world.do(world.renew(world.proxies[0], "north"))
    began = len(world.kms.log)
    world.loop.spend(60.0)
    assert len(world.kms.log) - began <= 70


def test_virtual_time_does_not_wait() -> None:
    """The tests above are only as good as their clock: what is due earlier comes earlier, and nothing is left out."""
    loop, order = VirtualLoop(), []

    async def note(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append((seconds, loop.time()))

    async def both() -> None:
        await asyncio.gather(note(3_600.0), note(0.5), note(60.0))

    loop.run_until_complete(both())
    loop.end()
    assert order == [(0.5, 1_000.5), (60.0, 1_060.0), (3_600.0, 4_600.0)]
