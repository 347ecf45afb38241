"""Renewal by a worker for the whole fleet: one key service call proves a leased key to every proxy that holds it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import sha256

from redis.asyncio import Redis

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import CmkError, KmsError, KmsRefused
from encrypted_fields.core.memory import wipe
from tsp import edek
from tsp.clock import Clock, SystemClock
from tsp.gate import LEASE_SECONDS, KmsGate
from tsp.leases import proofs
from tsp.leases.board import SKEW_SECONDS, Board
from tsp.leases.journal import Journal
from tsp.leases.lease import IDLE_SECONDS
from tsp.ports import Directory, Kms, Tenant

_EARLY = 60.0  # a worker renews so many seconds before `renew` is over: proxies look at 90 % of it
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Renewed:
    """What one round did, in leased keys."""

    proved: int = 0
    fresh: int = 0
    refused: int = 0
    failed: int = 0
    unknown: int = 0


async def renew_fleet(
    redis: Redis, vendor: str, directory: Directory, gate: KmsGate, journal: Journal, clock: Clock | None = None
) -> Renewed:
    """Prove every leased key that some proxy used in the last five minutes and that is due; tell the fleet of refusals.

    Call it every 10 to 30 seconds. Two workers at the same time only do the work twice. RedisError when Redis is away.
    """
    times, board, done = clock or SystemClock(), Board(redis, vendor), Renewed()
    for place, elek in await board.used(times.wall() - IDLE_SECONDS):
        try:
            tenant = directory.tenant(place[0])
            kms = tenant.kms_for(place[1])
            edek.blob_of(elek)
        except KmsError:
            done.unknown += 1  # Redis is only a hint: what no accepted configuration knows is nobody's
            continue
        digest = sha256(elek).digest()
        last = await board.proved_at(place, digest)
        if last is not None and 0 <= times.wall() - last < kms.leasing.renew - min(_EARLY, kms.leasing.renew / 2):
            done.fresh += 1
            continue
        await _renew(tenant, kms, elek, digest, gate, board, journal, times, done)
    return done


async def _renew(
    tenant: Tenant,
    kms: Kms,
    elek: bytes,
    digest: bytes,
    gate: KmsGate,
    board: Board,
    journal: Journal,
    clock: Clock,
    done: Renewed,
) -> None:
    place, context = (tenant.name, kms.config), KeyContext(tenant.vendor, tenant.name, kms.config, "lek")
    blob, present = edek.blob_of(elek), await board.clock()
    started = clock.wall()
    if started - present > SKEW_SECONDS:
        done.failed += 1  # its proofs would look younger than they are; the proxies renew for themselves
        _log.warning("the clock of this machine is ahead of that of redis, so this worker proves no leased key")
        return
    try:
        key = await gate.call(place, "prove-lease", lambda: kms.adapter.unwrap(blob, context), seconds=LEASE_SECONDS)
        edek.check_direct(elek, key, context)
    except KmsRefused as error:
        done.refused += 1
        await board.refused(place)
        journal.say(tenant.name, "lease.refused", kms.config, error, digest)
    except CmkError as error:
        done.failed += 1
        _log.warning("a lease could not be renewed: %s", error, extra={"tenant": tenant.name, "config": kms.config})
    else:
        done.proved += 1
        await board.proved(place, digest, proofs.make(key, tenant.name, kms.config, digest, started))
        wipe(key)
        journal.say(tenant.name, "lease.renewed", kms.config, digest=digest)
