"""Keeping leases proved, in the background: expiry to the second, renewals, retries, probes. Never in a request."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Sequence
from hashlib import sha256
from typing import Protocol

from encrypted_fields.core.errors import (
    CmkError,
    KmsError,
    KmsRefused,
    KmsThrottled,
    KmsUnreachable,
    Overloaded,
)
from tsp.contract import events
from tsp.gate import Place
from tsp.leases import proofs
from tsp.leases.cache import KeyState, Leases
from tsp.leases.lease import FALLBACK_SECONDS, IDLE_SECONDS, Lease, Moment, life
from tsp.leases.rejoin import rejoin
from tsp.ports import Directory, Kms, Tenant

TICK_SECONDS = 0.5
PROBE_SECONDS = 300.0
REJOIN_SECONDS = 30.0
_REVERIFY_SECONDS = 2.0  # hints are free to forge, so they cause no more than one call in this time
_LOOK_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Notices(Protocol):
    """What proxies and workers tell each other (tsp.leases.board). Nothing of it is believed without our own look."""

    async def using(self, leases: Sequence[Lease], wall: float, boot: float) -> None: ...

    async def proof(self, lease: Lease, wall: float) -> bytes | None: ...

    async def refused(self, place: Place) -> None: ...

    async def refusals(self) -> list[Place]: ...


class Renewal:
    """Looks at each lease every half second. With a `board` workers renew first, and hints of refusals come in."""

    def __init__(self, leases: Leases, directory: Directory, board: Notices | None = None) -> None:
        self._leases = leases
        self._directory = directory
        self._board = board
        self._tasks: set[asyncio.Task[None]] = set()
        self._verified: dict[Place, float] = {}
        self._hints: set[Place] = set()
        self._hearing: asyncio.Task[None] | None = None
        self._rejoining: asyncio.Task[None] | None = None
        self._rejoin = 0.0
        leases.on_refusal = self._tell

    async def run(self) -> None:
        """Until cancelled. A fault in one round is logged, and the next one comes."""
        while True:
            try:
                await self.tick()
            except Exception:
                _log.exception("a round of lease renewals failed")
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        """One round: wipe what has expired, start what is due. Waits neither for a key service nor for Redis."""
        now = self._leases.now()
        for (name, config), state in list(self._leases.states.items()):
            self._state(name, config, state, now)
        if self._board is not None and (self._hearing is None or self._hearing.done()):
            self._hearing = self._start(self._hear(self._board))
        if now.boot >= self._rejoin and (self._rejoining is None or self._rejoining.done()):
            self._rejoin = now.boot + REJOIN_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311
            self._rejoining = self._start(self._together())

    async def settled(self) -> None:
        """Until all that is on its way has come back."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _hear(self, board: Notices) -> None:
        now = self._leases.now()
        try:
            await board.using([lease for _, lease in self._leases.all()], now.wall, now.boot)
            self._hints.update(await board.refusals())
        except Exception:  # what is in Redis may be anything; the next round hears again
            _log.exception("the notices of the fleet could not be heard")
        for place in list(self._hints):
            self._look(place, self._leases.now())

    async def _together(self) -> None:
        """Who agreed on a leased key with itself asks the fleet, one key after the other, until Redis is silent."""
        for (name, config), state in list(self._leases.states.items()):
            if not state.alone:
                continue
            try:
                tenant = self._directory.tenant(name)
                answered = await rejoin(self._leases, tenant, tenant.kms_for(config), state)
            except CmkError:
                continue  # its own serves on; the next round asks again
            if not answered:
                return

    def _state(self, name: str, config: int, state: KeyState, now: Moment) -> None:
        try:
            tenant = self._directory.tenant(name)
            kms = tenant.kms_for(config)
        except KmsError:
            for lease in list(state.leases.values()):
                self._leases.drop(state, lease)  # switched off or gone: no request gets past the directory any more
            return
        self._compare(state, kms)
        for lease in list(state.leases.values()):
            lease.leasing = kms.leasing
            self._lease(tenant, kms, state, lease, now)
        if (
            state.refused is not None
            and state.elek is not None
            and now.boot >= max(state.probe, state.refused + PROBE_SECONDS)
        ):
            state.probe = now.boot + PROBE_SECONDS * random.uniform(0.9, 1.0)  # noqa: S311
            self._start(self._ask(tenant, kms, state, None, state.elek))

    def _lease(self, tenant: Tenant, kms: Kms, state: KeyState, lease: Lease, now: Moment) -> None:
        if not lease.usable(now):
            self._leases.journal.say(tenant.name, events.LEASE_EXPIRED, kms.config, KmsUnreachable(), lease.digest)
            self._leases.drop(state, lease)
        elif now.boot >= lease.due and now.boot - lease.used > IDLE_SECONDS and not lease.failures:
            self._leases.drop(state, lease)
        elif now.boot >= lease.retry and not lease.busy:
            lease.busy = True
            self._start(self._renew(tenant, kms, state, lease))

    def _compare(self, state: KeyState, kms: Kms) -> None:
        """A new version of the configuration has to prove the keys that the old one proved, and proves them itself."""
        if state.version == kms.version:
            return
        if state.version:
            state.active = None
            for lease in state.leases.values():
                lease.retry, lease.failures = 0.0, max(lease.failures, 1)
        state.version = kms.version

    async def _renew(self, tenant: Tenant, kms: Kms, state: KeyState, lease: Lease) -> None:
        try:
            if not await self._proved_elsewhere(lease):
                await self._ask(tenant, kms, state, lease, lease.elek)
        finally:
            lease.busy = False

    async def _proved_elsewhere(self, lease: Lease) -> bool:
        """Whether a worker's proof came in, or may still come: then this process leaves the key service alone."""
        now = self._leases.now()
        if self._board is None or lease.failures or lease.skewed or now.boot < lease.due:
            return False
        proof = await self._board.proof(lease, now.wall)
        started = proof and not lease.lek.wiped and proofs.started(
            proof, lease.lek.view(), lease.tenant, lease.config, lease.digest
        )  # fmt: skip
        if started:
            lease.skewed = started > now.wall + 1.0
            at = Moment(now.boot - max(now.wall - started, 0.0), started)
            if not lease.skewed and at.boot > lease.proof.boot and at.wall > lease.proof.wall and started <= now.wall:
                lease.proved(at)
        patience = min(FALLBACK_SECONDS, (lease.proof.boot + life(lease.leasing) - lease.due) / 2)
        if now.boot < lease.due + patience:
            lease.retry = max(lease.retry, now.boot + min(_LOOK_SECONDS, patience))
            return True
        return False

    async def _ask(self, tenant: Tenant, kms: Kms, state: KeyState, lease: Lease | None, elek: bytes) -> None:
        digest = sha256(elek).digest()
        try:
            await self._leases.prove(tenant, kms, elek, digest)
        except (KmsUnreachable, KmsThrottled, Overloaded) as error:
            if lease is not None:  # no answer is not a no: hold, and ask again
                lease.failed(self._leases.clock.boot(), getattr(error, "retry_after", None) or 0.0)
                _log.warning(
                    "a lease could not be renewed: %s", error, extra={"tenant": tenant.name, "config": kms.config}
                )
        except KmsRefused:
            pass  # `prove` has wiped and told
        except CmkError as error:
            if lease is not None:  # the key service answered, and not with this key: it is no longer proved
                self._leases.journal.say(tenant.name, events.LEASE_REFUSED, kms.config, error, digest)
                self._leases.drop(state, lease)
        else:
            self._leases.journal.say(tenant.name, events.LEASE_RENEWED, kms.config, digest=digest)

    def _look(self, place: Place, now: Moment) -> None:
        """Somebody says that a tenant refused: see for ourselves before we believe it (T-9)."""
        state = self._leases.states.get(place)
        if state is None or not state.leases:
            self._hints.discard(place)
            return
        lease = next(iter(state.leases.values()))
        if lease.busy or now.boot < self._verified.get(place, 0.0):
            return  # the hint stays, and the next round looks again
        self._hints.discard(place)
        self._verified[place] = now.boot + _REVERIFY_SECONDS
        try:
            tenant = self._directory.tenant(place[0])
            kms = tenant.kms_for(place[1])
        except KmsError:
            return  # the next round wipes it
        lease.busy = True
        self._start(self._verify(tenant, kms, state, lease))

    async def _verify(self, tenant: Tenant, kms: Kms, state: KeyState, lease: Lease) -> None:
        try:
            await self._ask(tenant, kms, state, lease, lease.elek)
        finally:
            lease.busy = False

    def _tell(self, place: Place) -> None:
        if self._board is not None:
            self._start(self._board.refused(place))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
