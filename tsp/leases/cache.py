"""The leases of this process: who holds a key, how one is proved, how a refusal ends all of a tenant key."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    CmkError,
    InvalidEdek,
    KmsRefused,
    KmsUnreachable,
    KmsUnwrapFailed,
    KmsWrapFailed,
)
from encrypted_fields.core.memory import SecretBytes
from tsp import edek
from tsp.clock import Clock
from tsp.contract import events
from tsp.gate import LEASE_SECONDS, KmsGate, Place
from tsp.leases.agreement import Agreement
from tsp.leases.journal import Journal
from tsp.leases.lease import Lease, Moment, epoch
from tsp.ports import Kms, Tenant

WAIT_SECONDS = 10.0
REFUSED_SECONDS = 1.0  # after a refusal the key service is asked again at most once in this time
CONCURRENT = 20  # key service calls for leases, so that a restart does not flood anyone
ALONE = "redis does not answer, so the active leased key is agreed in this process alone"
MOST = 1024  # leased keys of one tenant key at a time; the one that is longest unused goes
_log = logging.getLogger(__name__)


class KeyState:
    """What this process knows of one tenant key: its leases, and whether the tenant has said no.

    `generation` grows with each refusal: a request that began under another number releases nothing (R-5).
    """

    __slots__ = (
        "active", "active_until", "alone", "calls", "elek", "generation", "leases", "probe", "refused", "tenant",
        "version",
    )  # fmt: skip

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.calls = asyncio.Semaphore(2)  # so that one slow key service cannot take all the places for leases
        self.generation = 0
        self.leases: dict[bytes, Lease] = {}
        self.active: Lease | None = None
        self.active_until = 0.0
        self.alone = ""  # the slot whose key is ours alone while Redis does not answer (tsp.leases.rejoin)
        self.version = 0
        self.elek: bytes | None = None  # the last one that was active: what a refused tenant key is probed with
        self.refused: float | None = None  # boot seconds of the last refusal, None while access is given
        self.probe = 0.0


class Leases:
    """`for_wrap` and `for_unwrap` give a lease that is usable now; one call at a time asks for each LEK (R-28)."""

    def __init__(self, gate: KmsGate, agreement: Agreement, journal: Journal, clock: Clock) -> None:
        self.clock = clock
        self.states: dict[Place, KeyState] = {}
        self.journal = journal
        self.on_refusal: Callable[[Place], None] | None = None
        self._gate = gate
        self.agreement = agreement
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._flights: dict[Any, asyncio.Task[Lease]] = {}

    def now(self) -> Moment:
        return Moment(self.clock.boot(), self.clock.wall())

    def state(self, tenant: str, config: int) -> KeyState:
        found = self.states.get((tenant, config))
        if found is None:
            found = self.states[tenant, config] = KeyState(tenant)
        return found

    async def for_wrap(self, tenant: Tenant, kms: Kms) -> Lease:
        """The active lease. The tenant's refusal, or KmsUnreachable after 10 s, when there is none."""
        state = self.state(tenant.name, kms.config)
        lease = self.to_wrap(state, kms, self.now())
        if lease is not None:
            return lease
        return await self._flight(
            ("active", tenant.name, kms.config), state, lambda: self._activate(tenant, kms, state)
        )

    async def for_unwrap(self, tenant: Tenant, kms: Kms, elek: bytes, digest: bytes) -> Lease:
        """The lease of the ELEK that an EDEK carries, whichever proxy made it."""
        lease = self.to_unwrap(self.state(tenant.name, kms.config), digest, self.now())
        if lease is None:
            lease = await self.prove(tenant, kms, elek, digest)
            if not lease.usable(self.now()):  # the machine slept while that proof, begun for others, was on its way
                lease = await self.prove(tenant, kms, elek, digest)
        return lease

    def to_wrap(self, state: KeyState, kms: Kms, now: Moment) -> Lease | None:
        """The active lease if it is in hand and usable: what most requests need wait for nothing to get."""
        lease = state.active
        if lease is None or now.wall >= state.active_until or state.version != kms.version or not lease.usable(now):
            return None
        lease.used = now.boot
        return lease

    def to_unwrap(self, state: KeyState, digest: bytes, now: Moment) -> Lease | None:
        """The same for the lease of an ELEK."""
        lease = state.leases.get(digest)
        if lease is None or not lease.usable(now):
            return None
        lease.used = now.boot
        return lease

    async def prove(self, tenant: Tenant, kms: Kms, elek: bytes, digest: bytes) -> Lease:
        """Have the key service unwrap `elek` now; the lease with its new proof. A refusal wipes all of the key."""
        state = self.state(tenant.name, kms.config)
        return await self._flight(digest, state, lambda: self._prove(tenant, kms, state, elek, digest))

    def refuse(self, tenant: str, config: int, error: CmkError) -> None:
        """The tenant's key service said no: nothing of this key is usable from here on."""
        state = self.state(tenant, config)
        first = state.refused is None
        state.generation += 1
        state.refused = self.clock.boot()
        for lease in list(state.leases.values()):
            self.journal.say(state.tenant, events.LEASE_REFUSED, config, error, lease.digest)
            self.drop(state, lease)
        if first and self.on_refusal is not None:
            self.on_refusal((tenant, config))

    def accepted(self, tenant: str, config: int) -> None:
        """A call to the key service worked. Ends a refusal, with one event (R-6)."""
        state = self.states.get((tenant, config))
        if state is not None and state.refused is not None:
            state.refused = None
            self.journal.say(tenant, events.ACCESS_RESTORED, config)

    def drop(self, state: KeyState, lease: Lease) -> None:
        """Wipe one lease. Its ELEK stays known: it opens nothing by itself."""
        lease.lek.wipe()
        state.leases.pop(lease.digest, None)
        if state.active is lease:
            state.active = None

    def wipe(self) -> None:
        """Everything, at the end of the process."""
        for state, lease in self.all():
            self.drop(state, lease)

    def all(self) -> Iterator[tuple[KeyState, Lease]]:
        for state in list(self.states.values()):
            for lease in list(state.leases.values()):
                yield state, lease

    async def _flight(self, name: Any, state: KeyState, start: Callable[[], Awaitable[Lease]]) -> Lease:
        task = self._flights.get(name)
        if task is None:
            if state.refused is not None and self.clock.boot() - state.refused < REFUSED_SECONDS:
                raise KmsRefused
            task = self._flights[name] = asyncio.ensure_future(start())
            task.add_done_callback(lambda done: (self._flights.pop(name, None), done.cancelled() or done.exception()))
        done, _ = await asyncio.wait({task}, timeout=WAIT_SECONDS)
        if not done:
            raise KmsUnreachable("the tenant's key service did not answer within 10 seconds")
        error = task.exception()
        if error is not None:
            raise error.with_traceback(None)  # shared by all who waited: each would add its own frames to it
        return task.result()

    async def _activate(self, tenant: Tenant, kms: Kms, state: KeyState) -> Lease:
        place = f"{tenant.vendor}:{tenant.name}:{kms.config}:{kms.version}"
        number, ends = epoch(place, self.clock.wall())
        slot = f"{place}:{number}"
        agreed = await self.agreement.find(slot)
        lease = None
        if agreed is not None:
            # What the agreement holds is a hint: an ELEK that this key service did not make is replaced.
            with suppress(KmsUnwrapFailed, InvalidEdek):
                lease = await self._adopt(tenant, kms, agreed)
        if lease is None:
            own = lease = await self._create(tenant, kms)
            winner = await self.agreement.settle(slot, own.elek, agreed)
            if winner != own.elek:
                lease = await self._adopt(tenant, kms, winner)
                self.drop(state, own)
        state.active, state.elek, state.version, state.active_until = lease, lease.elek, kms.version, ends
        state.alone = slot if self.agreement.alone(slot) else ""
        if state.alone:
            mark = {"tenant": tenant.name, "config": kms.config, "edek": lease.digest[:8].hex()}
            _log.warning(ALONE, extra=mark)
        return lease

    async def _adopt(self, tenant: Tenant, kms: Kms, elek: bytes) -> Lease:
        edek.blob_of(elek)
        return await self.for_unwrap(tenant, kms, elek, sha256(elek).digest())

    async def _create(self, tenant: Tenant, kms: Kms) -> Lease:
        """A new leased key: wrapped, then unwrapped and compared before anything is wrapped under it (R-30)."""
        context = KeyContext(tenant.vendor, tenant.name, kms.config, "lek")
        with SecretBytes(32) as lek:
            lek.view()[:] = os.urandom(32)
            blob = await self._ask(tenant, kms, "wrap-lease", lambda: kms.adapter.wrap(lek.view(), context))
            elek = edek.direct(lek.view(), context, blob)
        try:
            return await self._adopt(tenant, kms, elek)
        except (KmsUnwrapFailed, InvalidEdek):
            pass
        raise KmsWrapFailed

    async def _prove(self, tenant: Tenant, kms: Kms, state: KeyState, elek: bytes, digest: bytes) -> Lease:
        context = KeyContext(tenant.vendor, tenant.name, kms.config, "lek")
        blob = edek.blob_of(elek)
        generation, started = state.generation, self.now()
        key = await self._ask(tenant, kms, "prove-lease", lambda: kms.adapter.unwrap(blob, context))
        fresh = SecretBytes.take(key)
        try:
            edek.check_direct(elek, fresh.view(), context)
            if state.generation != generation:
                raise KmsRefused  # the tenant said no while this call was on its way: the later word counts
        except CmkError:
            fresh.wipe()
            raise
        self.accepted(tenant.name, kms.config)
        lease = state.leases.get(digest)
        if lease is None or lease.lek.wiped:
            lease = state.leases[digest] = Lease(tenant.vendor, tenant.name, kms.config, elek, fresh, kms.leasing)
            lease.used = started.boot
            self._bound(state)
        else:
            fresh.wipe()
        lease.leasing = kms.leasing
        lease.proved(started)
        return lease

    async def _ask(self, tenant: Tenant, kms: Kms, operation: str, work: Callable[[], Any]) -> Any:
        place = (tenant.name, kms.config)
        async with self.state(*place).calls, self._slots:
            try:
                return await self._gate.call(place, operation, work, seconds=LEASE_SECONDS, provider=kms.adapter.label)
            except KmsRefused as error:
                self.refuse(*place, error)
                raise

    def _bound(self, state: KeyState) -> None:
        if len(state.leases) > MOST:
            self.drop(state, min(state.leases.values(), key=lambda lease: lease.used))
