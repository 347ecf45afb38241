"""Some proxies, their tenants' key services, one Redis and one audit trail, in virtual time, on our real code.

`World` also is the oracle: each key that a proxy releases is held against what the key services and the trail saw.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis

from encrypted_fields.core.errors import AuditUnavailable, CmkError, KmsConfigDisabled, KmsRefused, UnknownTenant
from encrypted_fields.core.memory import SecretBytes
from tests.support.people import VENDOR
from tests.support.virtual_time import Machine, VirtualLoop
from tests.tsp.leases.key_service import OK, KeyService, ServiceKms
from tests.tsp.leases.memory_redis import MemoryRedis
from tsp import edek, wire
from tsp.contract.events import AuditEvent
from tsp.contract.tenant import Leasing
from tsp.gate import KmsGate
from tsp.keyring import Keyring
from tsp.leases.board import Board, RedisAgreement
from tsp.leases.cache import KeyState, Leases
from tsp.leases.fleet import Renewed, renew_fleet
from tsp.leases.journal import Journal
from tsp.leases.lease import life
from tsp.leases.renewal import Renewal
from tsp.ports import Kms
from tsp.service import Service
from tsp.witness import Witness

SLACK = 0.002  # float arithmetic, and the milliseconds of a proof


@dataclass(eq=False)
class ActiveKey:
    """A `tsp.ports.Kms`."""

    config: int
    version: int
    adapter: ServiceKms
    leasing: Leasing


@dataclass
class Customer:
    """What a tenant has set up, for all proxies; a proxy sees it at once. `number` is its master key."""

    name: str
    config: int
    leasing: Leasing = field(default_factory=lambda: Leasing(enabled=True))
    version: int = 1
    number: int = 1
    on: bool = True


@dataclass(frozen=True)
class _Tenant:
    """A `tsp.ports.Tenant`."""

    name: str
    vendor: str
    key: ActiveKey

    def primary(self) -> Kms:
        return self.key

    def kms_for(self, config: int) -> Kms:
        if config != self.key.config:
            raise KmsConfigDisabled
        return self.key


class Trail:
    """Durable after `delay` seconds; `full` refuses. `places`: ray id → where its events stand."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.rays: dict[str, list[AuditEvent]] = {}
        self.delay = 0.0
        self.full = False

    async def record(self, events: Sequence[AuditEvent]) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.full:
            raise AuditUnavailable
        for event in events:
            self.events.append(event)
            self.rays.setdefault(event.ray_id, []).append(event)

    def actions(self, tenant: str) -> list[str]:
        return [event.action for event in self.events if event.tenant == tenant]


@dataclass
class Issued:
    """An EDEK with its key, as the SaaS keeps it."""

    tenant: str
    edek: bytes
    dek: bytes


class Proxy:
    """One process. `restart` is a new one on the same machine; `stopped`: SIGSTOP."""

    def __init__(self, world: World, name: str, base: float) -> None:
        self.world, self.name, self.clock = world, name, Machine(world.loop, base)
        self.stopped = False
        self.seen: dict[int, SecretBytes] = {}  # every leased key that this process ever held
        self.refused: dict[str, float] = {}  # tenant → when this process last heard its no
        self.first_no: dict[str, float] = {}
        self.versions: dict[tuple[str, int], int] = {}
        self.restart()

    def restart(self) -> None:
        if hasattr(self, "leases"):
            for task in (*self.renewal._tasks, *self.leases._flights.values()):
                task.cancel()  # a process that is gone asks nobody any more
            self.world.do(asyncio.sleep(0))
            self.leases.wipe()
            self.gate.close()
            self.world.kms.forget(self.name)
        world, redis = self.world, cast(Redis, self.world.redis)
        self.refused.clear()
        self.versions.clear()
        self.gate = KmsGate()
        self.leases = Leases(
            self.gate, RedisAgreement(redis), Journal(world.trail, VENDOR, self.name), cast(Any, self.clock)
        )
        self._watch()
        self.board = Board(redis, VENDOR)
        self.renewal = Renewal(self.leases, self, self.board)
        self.service = Service(self, Keyring(self.gate, self.leases), Witness(world.trail, self.name))

    def tenant(self, name: str) -> _Tenant:
        customer = self.world.customers.get(name)
        if customer is None or not customer.on:
            raise UnknownTenant
        adapter = ServiceKms(ServiceKms.Config(self.name, name, customer.number), self.world.kms)
        return _Tenant(name, VENDOR, ActiveKey(customer.config, customer.version, adapter, customer.leasing))

    async def tick(self) -> None:
        if not self.stopped:
            await self.renewal.tick()

    def held(self, tenant: str) -> KeyState:
        return self.leases.state(tenant, self.world.customers[tenant].config)

    def _watch(self) -> None:
        """Note when this process hears a refusal: from then on the oracle allows it nothing without a new success."""
        told = self.leases.refuse

        def refuse(tenant: str, config: int, error: CmkError) -> None:
            if isinstance(error, KmsRefused):
                self.refused[tenant] = self.world.now()
                self.first_no.setdefault(tenant, self.world.now())
            told(tenant, config, error)

        self.leases.refuse = refuse  # type: ignore[method-assign]


@dataclass
class World:
    """`names` are tenants. Time is `now()`: seconds that really passed, suspend included."""

    names: Sequence[str] = ("north", "south", "brief")
    proxies_wanted: int = 2
    releases: int = 0
    issued: list[Issued] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = VirtualLoop()
        self.slept = self.ticked = 0.0
        self.rays = 0
        self.redis = MemoryRedis(self.now)
        self.kms = KeyService(self.now)
        self.trail = Trail()
        self.customers = {name: Customer(name, 10 + number) for number, name in enumerate(self.names)}
        if "brief" in self.customers:
            self.customers["brief"].leasing = Leasing(enabled=True, renew=60, hold=0)
        self.proxies = [Proxy(self, f"tsp-{number}", 7_777.0 * number) for number in range(self.proxies_wanted)]

    def now(self) -> float:
        return self.loop.now + self.slept

    def end(self) -> None:
        for proxy in self.proxies:
            proxy.leases.wipe()
            proxy.gate.close()
        self.loop.end()

    # what the environment does

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def advance(self, seconds: float, use: Callable[[], None] = lambda: None, most: int = 20) -> None:
        """Time passes, with rounds of renewal every half second; further apart when there would be more than `most`.

        `use` is called before each round.
        """
        rounds = max(1, min(int(seconds / 0.5), most))
        for _ in range(rounds):
            self.loop.spend(seconds / rounds)
            use()
            self.tick()
        self.loop.spend(0.5)  # so that what was due in the last long step is done before anybody looks
        self.tick()

    def tick(self) -> None:
        self.ticked = self.now()
        for proxy in self.proxies:
            self.do(proxy.tick())

    def suspend(self, seconds: float) -> None:
        """All computers sleep: time passes, CLOCK_MONOTONIC does not."""
        self.slept += seconds
        for proxy in self.proxies:
            proxy.clock.slept += seconds

    def all_well(self) -> None:
        self.kms.mode.clear()
        self.kms.delay.clear()
        self.kms.retry_after = None
        self.redis.down = self.redis.hangs = self.trail.full = False
        self.trail.delay = 0.0
        for customer in self.customers.values():
            customer.on = True
        for proxy in self.proxies:
            proxy.stopped = False

    def running(self) -> list[asyncio.Task[None]]:
        """The proxies' own loops of renewal, as in the process; ended with the world."""
        return [self.loop.create_task(proxy.renewal.run()) for proxy in self.proxies]

    def worker(self, offset: float = 0.0) -> Renewed:
        """One round of a worker whose wall clock is `offset` seconds off."""
        clock, gate = Machine(self.loop, 0.0), KmsGate()
        clock.slept, clock.offset = self.slept, offset
        directory = Proxy(self, "worker", 0.0)
        journal = Journal(self.trail, VENDOR, "worker")
        try:
            done: Renewed = self.do(
                renew_fleet(cast(Redis, self.redis), VENDOR, directory, gate, journal, cast(Any, clock))
            )
            self.do(journal.drained())
        finally:
            gate.close()
        return done

    # what the SaaS asks, each answer held against what the tenant's side saw

    async def renew(self, proxy: Proxy, tenant: str) -> None:
        """Have `proxy` prove all that it holds of `tenant` now."""
        for lease in list(proxy.held(tenant).leases.values()):
            lease.retry = lease.due = 0.0
        await proxy.tick()

    async def wrap(self, proxy: Proxy, tenant: str) -> Issued | CmkError:
        ray = self._ray()
        try:
            reply = await proxy.service.wrap(wire.Request(tenant_id=tenant, icl_fields=_WHO), ray)
        except CmkError as error:
            return error
        self.check(proxy, tenant, reply.edek, ray)
        self.issued.append(Issued(tenant, reply.edek, reply.dek))
        return self.issued[-1]

    async def unwrap(self, proxy: Proxy, issued: Issued, tenant: str = "") -> bytes | CmkError:
        ray, tenant = self._ray(), tenant or issued.tenant
        text = base64.b64encode(issued.edek).decode()
        request = wire.Unwrap(tenant_id=tenant, icl_fields=_WHO, encrypted_document_key=text)
        try:
            reply = await proxy.service.unwrap(request, ray)
        except CmkError as error:
            return error
        self.check(proxy, tenant, issued.edek, ray)
        assert tenant == issued.tenant, "I5: a key was released to another tenant"
        assert reply.dek == issued.dek
        return reply.dek

    async def unwrap_all(self, proxy: Proxy, issued: Sequence[Issued]) -> wire.BatchReply | CmkError:
        ray = self._ray()
        edeks = {str(number): base64.b64encode(one.edek).decode() for number, one in enumerate(issued)}
        request = wire.BatchUnwrap(tenant_id=issued[0].tenant, icl_fields=_WHO, edeks=edeks)
        try:
            reply = await proxy.service.batch_unwrap(request, ray)
        except CmkError as error:
            return error
        for name, key in reply.keys.items():
            self.check(proxy, issued[0].tenant, issued[int(name)].edek, ray)
            assert issued[int(name)].tenant == issued[0].tenant, "I5: a key was released to another tenant"
            assert key.dek == issued[int(name)].dek
        return reply

    async def rekey(self, proxy: Proxy, issued: Issued, target: str) -> Issued | CmkError:
        ray, text = self._ray(), base64.b64encode(issued.edek).decode()
        request = wire.Rekey(
            tenant_id=issued.tenant, icl_fields=_WHO, encrypted_document_key=text, new_tenant_id=target
        )
        try:
            reply = await proxy.service.rekey(request, ray)
        except CmkError as error:
            return error
        self.check(proxy, issued.tenant, issued.edek, ray)
        self.check(proxy, target, reply.edek, ray)
        assert reply.dek == issued.dek
        self.issued.append(Issued(target, reply.edek, reply.dek))
        return self.issued[-1]

    def check(self, proxy: Proxy, tenant: str, data: bytes, ray: str) -> None:
        """I1, I2 and I4 of one key that is just being released."""
        self.releases += 1
        now, parsed = self.now(), edek.parse(data, tenant)
        blob = edek.blob_of(parsed.elek or parsed.content)
        proofs = [call for call in self.kms.proofs.get((tenant, blob), []) if call.arrives <= now + SLACK]
        if parsed.elek is None:  # wrapped by the key service itself
            proofs += [call for call in self._successes(tenant)[-1:] if call.operation == "wrap"]
        # a key service of the old version is not one of the new: a proof counts for the tenant's own policy of now
        allowed = life(self.customers[tenant].leasing)
        assert proofs, "I1: a key was released that no key service ever opened"
        assert now - max(call.at for call in proofs) <= allowed + SLACK, "I1: released too long after the last proof"
        refused = proxy.refused.get(tenant)
        if refused is not None:
            mine = [call for call in self._successes(tenant) if call.proxy == proxy.name and call.at >= refused - SLACK]
            assert mine, "I2: released after a refusal, without a success since"
        events = self.trail.rays.get(ray, [])
        mark = edek.fingerprint(parsed.content)
        assert any(event.edek == mark and event.outcome == "success" and event.tenant == tenant for event in events), (
            "I4: a key was released without its event"
        )

    def state_is_sound(self) -> None:
        """I6, I7 and I8, at any moment between two requests."""
        assert not self.kms.pileups, "I7: one proxy asked twice at the same time for the same leased key"
        assert all(asked == bound for asked, bound in self.kms.contexts), (
            "I5: a key service saw another tenant's context"
        )
        for proxy in self.proxies:
            live = set()
            for state, lease in proxy.leases.all():
                proxy.seen[id(lease.lek)] = lease.lek
                live.add(id(lease.lek))
                assert not lease.lek.wiped
                assert lease.tenant == state.tenant, "I5: a lease of another tenant"
                if not proxy.stopped:
                    assert lease.usable(proxy.leases.now()), "I8: an expired key is still in memory"
            for key, lek in proxy.seen.items():
                assert key in live or lek.wiped, "I8: a key that is no longer leased was not wiped"
            proxy.seen = {key: lek for key, lek in proxy.seen.items() if key in live}
            for place, state in proxy.leases.states.items():
                assert state.version >= proxy.versions.get(place, 0), "I6: back to an older configuration"
                proxy.versions[place] = state.version
                if state.refused is not None and self.kms.mode.get(place[0]) != OK:
                    assert not state.leases, "I8: a leased key survived the tenant's no"

    def active(self, tenant: str) -> dict[str, bytes]:
        """Proxy → ELEK that it wraps under now."""
        found = {}
        for proxy in self.proxies:
            state = proxy.held(tenant)
            wall = proxy.clock.wall()
            if (
                state.active is not None
                and wall < state.active_until
                and state.version == self.customers[tenant].version
            ):
                found[proxy.name] = state.active.elek
        return found

    def _successes(self, tenant: str) -> list[Any]:
        return [call for call in self.kms.log if call.tenant == tenant and call.outcome == OK]

    def _ray(self) -> str:
        self.rays += 1
        return f"ray-{self.rays}"


_WHO = wire.IclFields(requesting_id="tests")
