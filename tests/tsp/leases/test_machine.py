"""Q-4: whatever happens in whatever order, no key leaves that must not, and what may leave does. Invariants I1 to I8.

The leases, the service and the fleet's renewal are the real ones; key services do real AES-GCM; time is virtual.
`LEASE_EXAMPLES=5000` makes it a nightly run that explores; without it each run is the same.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from encrypted_fields.core.errors import CmkError
from tests.support.people import VENDOR
from tests.tsp.leases.key_service import BROKEN, CORRUPT, HANG, OK, REFUSE, THROTTLE
from tests.tsp.leases.world import Issued, Proxy, World
from tsp import edek
from tsp.leases import proofs
from tsp.leases.lease import Lease, Moment, epoch
from tsp.leases.renewal import TICK_SECONDS

EXPLORE = "LEASE_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("LEASE_EXAMPLES", "200"))
TENANTS = ["north", "south", "brief"]
which_proxy = st.integers(0, 1)
which_tenant = st.sampled_from(TENANTS)
whose = st.sampled_from([*TENANTS, "all"])
# a key service is well or refuses most of the time; what only delays has many forms
mode = st.sampled_from([OK, OK, REFUSE, HANG, BROKEN, THROTTLE, CORRUPT])
seconds = st.sampled_from([0.3, 1.0, 20.0, 61.0, 280.0, 310.0, 900.0, 3500.0, 3700.0])


class LeaseMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(TENANTS)
        self.tampered: set[str] = set()  # tenants whose agreement somebody broke: Redis emptied or forged
        self.parted: set[str] = set()  # those for whom Redis was away: each proxy may have agreed with itself
        self.said: dict[str, tuple[bytes, float]] = {}  # proofs that Redis once held, for replays

    def teardown(self) -> None:
        self.world.end()

    @initialize(proxy=which_proxy)
    def the_first_keys(self, proxy: int) -> None:
        for tenant in TENANTS:
            assert isinstance(self.world.do(self.world.wrap(self.world.proxies[proxy], tenant)), Issued)

    # the SaaS

    @rule(proxy=which_proxy, tenant=which_tenant)
    def wrap(self, proxy: int, tenant: str) -> None:
        self._asked(self.world.proxies[proxy], tenant, None)

    @rule(proxy=which_proxy, which=st.integers(0, 1000))
    def unwrap(self, proxy: int, which: int) -> None:
        issued = self.world.issued[which % len(self.world.issued)]
        self._asked(self.world.proxies[proxy], issued.tenant, issued)

    @rule(proxy=which_proxy, which=st.integers(0, 1000), tenant=which_tenant)
    def unwrap_for_another_tenant(self, proxy: int, which: int, tenant: str) -> None:
        issued = self.world.issued[which % len(self.world.issued)]
        if tenant != issued.tenant:
            outcome = self.world.do(self.world.unwrap(self.world.proxies[proxy], issued, tenant))
            assert isinstance(outcome, CmkError)

    @rule(
        proxy=which_proxy, tenant=which_tenant, mode=mode, after=st.sampled_from([0.0, 0.05, 0.5]), slow=st.booleans()
    )
    def many_at_once_while_the_key_service_changes(
        self, proxy: int, tenant: str, mode: str, after: float, slow: bool
    ) -> None:
        world, at = self.world, self.world.proxies[proxy]
        own = [one for one in world.issued if one.tenant == tenant][-3:]
        world.trail.delay = 0.3 if slow else 0.0

        async def storm() -> None:
            asked: list[Any] = [world.unwrap(at, one) for one in own for _ in range(3)]
            asked += [world.wrap(at, tenant), world.wrap(at, tenant), world.unwrap_all(at, own)]
            tasks = [asyncio.ensure_future(one) for one in asked]
            await asyncio.sleep(after)
            world.kms.mode[tenant] = mode
            tasks += [asyncio.ensure_future(world.renew(at, tenant))]
            await asyncio.sleep(0.1)
            tasks += [asyncio.ensure_future(world.wrap(at, tenant))]
            await asyncio.gather(*tasks)

        world.do(storm())
        world.trail.delay = 0.0

    @rule(proxy=which_proxy, tenant=which_tenant)
    def no_key_without_its_event(self, proxy: int, tenant: str) -> None:
        self.world.trail.full = True
        outcome = self.world.do(self.world.wrap(self.world.proxies[proxy], tenant))
        self.world.trail.full = False
        assert isinstance(outcome, CmkError)

    # the tenants

    @rule(tenant=whose, mode=mode)
    def key_service(self, tenant: str, mode: str) -> None:
        self.world.kms.mode.update(dict.fromkeys(TENANTS if tenant == "all" else [tenant], mode))

    @rule(tenant=which_tenant, delay=st.sampled_from([0.001, 0.1, 1.8]))
    def slow_key_service(self, tenant: str, delay: float) -> None:
        self.world.kms.delay[tenant] = delay

    @rule(tenant=which_tenant)
    def new_version(self, tenant: str) -> None:
        self.world.customers[tenant].version += 1

    @rule(tenant=which_tenant, seconds=st.sampled_from([1.0, 400.0]))
    def switched_off_for_a_while(self, tenant: str, seconds: float) -> None:
        world = self.world
        world.customers[tenant].on = False
        world.advance(seconds)
        for proxy in world.proxies:
            assert not proxy.held(tenant).leases, "a tenant that is switched off still has its leased key in memory"
            assert isinstance(world.do(world.wrap(proxy, tenant)), CmkError)
        world.customers[tenant].on = True

    # time and machines

    @rule(seconds=seconds)
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(seconds=seconds, proxy=st.sampled_from([0, 1, -1]))
    def time_passes_in_use(self, seconds: float, proxy: int) -> None:
        users = self.world.proxies if proxy < 0 else [self.world.proxies[proxy]]
        latest = {one.tenant: one for one in self.world.issued}

        def use() -> None:
            for user in users:
                for issued in latest.values():
                    self._asked(user, issued.tenant, issued)

        self.world.advance(seconds, use)

    @rule(
        proxy=which_proxy, offset=st.sampled_from([-86_400.0, -3600.0, -5.0, 5.0, 3600.0, 86_400.0]), use=st.booleans()
    )
    def wall_clock_jumps(self, proxy: int, offset: float, use: bool) -> None:
        self.world.proxies[proxy].clock.offset += offset
        if use:
            self._asked(self.world.proxies[proxy], "north", self._latest("north"))
        self.world.tick()

    @rule(seconds=st.sampled_from([60.0, 3650.0, 7200.0]), back=st.booleans())
    def suspend(self, seconds: float, back: bool) -> None:
        self.world.suspend(seconds)
        for proxy in self.world.proxies:
            proxy.clock.offset -= seconds if back else 0.0
            self._asked(proxy, "south", self._latest("south"))
        self.world.tick()

    @rule(proxy=which_proxy, seconds=seconds, tenant=which_tenant)
    def stopped_for_a_while(self, proxy: int, seconds: float, tenant: str) -> None:
        """SIGSTOP and SIGCONT: the first request comes before the first round."""
        at = self.world.proxies[proxy]
        at.stopped = True
        self.world.advance(seconds)
        self._asked(at, tenant, self._latest(tenant))
        at.stopped = False
        self.world.tick()

    @rule(proxy=which_proxy)
    def restart(self, proxy: int) -> None:
        self.world.proxies[proxy].restart()

    @rule(offset=st.sampled_from([0.0, 0.0, -3000.0, 3000.0]), seconds=st.sampled_from([0.0, 250.0]))
    def worker(self, offset: float, seconds: float) -> None:
        self.world.advance(seconds)
        if not (self.world.redis.down or self.world.redis.hangs):
            self.world.worker(offset)
            self.said |= {name: value for name, value in self.world.redis.values.items() if ":proof:" in name}

    # Redis, and those who can write to it

    @rule(down=st.booleans(), hangs=st.booleans())
    def redis(self, down: bool, hangs: bool) -> None:
        self.world.redis.down, self.world.redis.hangs = down, hangs and not down
        if down or hangs:
            self.parted.update(TENANTS)

    @rule()
    def redis_forgets(self) -> None:
        self.world.redis.flush()
        self.tampered.update(TENANTS)

    @rule(tenant=which_tenant)
    def forged_refusal(self, tenant: str) -> None:
        """A hint makes a proxy look for itself; it ends nothing, and costs the key service next to nothing (T-9)."""
        world, config = self.world, self.world.customers[tenant].config
        if world.redis.down or world.redis.hangs:
            return
        held = [set(proxy.held(tenant).leases) for proxy in world.proxies]
        before = len(world.kms.log)
        for _ in range(5):
            world.do(world.proxies[0].board.refused((tenant, config)))
            world.do(world.proxies[0].board.refused(("nobody", 1)))
            world.tick()
            world.loop.spend(0.2)
        assert len(world.kms.log) - before <= 30
        if world.kms.mode.get(tenant, OK) == OK:
            now = [set(proxy.held(tenant).leases) for proxy in world.proxies]
            assert all(map(set.issubset, held, now)), "a forged refusal ended a lease"

    @rule(tenant=which_tenant, kind=st.sampled_from(["random", "unsigned", "replayed", "future"]), wait=seconds)
    def forged_proof(self, tenant: str, kind: str, wait: float) -> None:
        world = self.world
        for proxy in world.proxies:
            for lease in proxy.held(tenant).leases.values():
                name = f"cmk:lease:{VENDOR}:proof:{tenant}:{lease.config}:{lease.digest.hex()}"
                when = proxy.clock.wall() + (3000.0 if kind == "future" else 200.0)
                forged = proofs.make(bytes(32), tenant, lease.config, lease.digest, when)
                world.redis.values[name] = os.urandom(40) if kind == "random" else forged, world.now() + 36_000
        if kind == "replayed":
            world.redis.values |= {name: (value, world.now() + 36_000) for name, (value, _) in self.said.items()}
        self.time_passes_in_use(wait, 0)

    @rule(tenant=which_tenant, kind=st.sampled_from(["random", "other tenant", "old", "empty"]))
    def forged_agreement(self, tenant: str, kind: str) -> None:
        world, customer = self.world, self.world.customers[tenant]
        place = f"{VENDOR}:{tenant}:{customer.config}:{customer.version}"
        eleks = [
            lease.elek for proxy in world.proxies for _, lease in proxy.leases.all()
            if (lease.tenant == tenant) == (kind == "old")
        ]  # fmt: skip
        value = os.urandom(100) if kind == "random" or not eleks else b"" if kind == "empty" else eleks[-1]
        for proxy in world.proxies:
            name = f"cmk:elek:{place}:{epoch(place, proxy.clock.wall())[0]}"
            world.redis.values[name] = value, world.now() + 36_000
        self.tampered.add(tenant)
        world.proxies[1].restart()

    # what must hold

    @rule(worker=st.booleans())
    def when_all_is_well_again_every_key_opens_on_every_proxy(self, worker: bool) -> None:
        world = self.world
        world.all_well()
        world.advance(70.0)
        if worker:
            world.worker()
        for proxy in world.proxies:
            for one in world.issued[-6:]:
                assert world.do(world.unwrap(proxy, one)) == one.dek, "R-31: an EDEK does not open any more"
            assert isinstance(world.do(world.wrap(proxy, "north")), Issued)
            assert not [state for state in proxy.leases.states.values() if state.alone], "I3: still alone"
        self.parted.clear()

    @invariant()
    def sound(self) -> None:
        if self.world.now() - self.world.ticked > TICK_SECONDS:
            self.world.tick()  # the rounds that went by while a request waited for a key service that hangs
        self.world.state_is_sound()

    @precondition(lambda self: not all(proxy.clock.offset for proxy in self.world.proxies))
    @invariant()
    def one_active_key(self) -> None:
        """I3, as long as Redis was there and nobody else wrote into it."""
        for tenant in set(TENANTS) - self.tampered - self.parted:
            right = {proxy.name for proxy in self.world.proxies if proxy.clock.offset == 0.0}
            eleks = {elek for name, elek in self.world.active(tenant).items() if name in right}
            assert len(eleks) <= 1, "I3: two active keys of one tenant key in one epoch"

    def _latest(self, tenant: str) -> Issued:
        return [one for one in self.world.issued if one.tenant == tenant][-1]

    def _asked(self, proxy: Proxy, tenant: str, issued: Issued | None) -> None:
        """Ask; where a lease is proved and held, the answer must be a key, whatever the key service does (R-2)."""
        world, state, now = self.world, proxy.held(tenant), proxy.leases.now()
        lease: Lease | None = state.active
        current = state.version == world.customers[tenant].version and now.wall < state.active_until
        if issued is not None:
            lease, current = state.leases.get(edek.parse(issued.edek, tenant).digest), True
        sure = lease is not None and current and lease.usable(Moment(now.boot + 1, now.wall + 1))
        call = world.wrap(proxy, tenant) if issued is None else world.unwrap(proxy, issued)
        outcome = world.do(call)
        assert not (sure and isinstance(outcome, CmkError)), f"R-2: a proved lease did not serve: {outcome!r}"


TestLease = LeaseMachine.TestCase
TestLease.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    derandomize=not EXPLORE,
    # a failure that each run repeats is looked at by hand; the nightly run takes its time to make it small
    phases=tuple(Phase) if EXPLORE else (Phase.explicit, Phase.generate),
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestLease = pytest.mark.timeout(600)(TestLease)
