"""What proxies and workers tell each other in Redis: ELEKs in use, proofs, refusals. Hints; none is believed. T-9."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tsp.contract.tenant import is_name
from tsp.gate import Place
from tsp.leases.agreement import MAX_ELEK
from tsp.leases.lease import EPOCH_SECONDS, IDLE_SECONDS, Lease

_KEEP = 7200
_ANNOUNCE_SECONDS = 60.0
# A proof says when it began on its worker's wall clock, and its age is reckoned on the proxy's. Each of the two must
# agree with the clock of Redis so far, so a proof looks younger than it is by a second at most.
SKEW_SECONDS = 0.5
_log = logging.getLogger(__name__)

# KEYS slot · ARGV the new ELEK, the one that it may replace ("" for none), seconds to keep
_SWAP = """
local now = redis.call('GET', KEYS[1])
if now and now ~= ARGV[2] then return now end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return ARGV[1]
"""

# Notices carry the time of Redis, the one clock that all proxies share: their own may differ by minutes.
# KEYS notices · ARGV place
_REFUSED = """
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] + now[2] / 1000000, ARGV[1])
redis.call('EXPIRE', KEYS[1], 7200)
"""
# KEYS notices · ARGV since when, "" for the first call · gives the present time and the places
_REFUSALS = """
local now = redis.call('TIME')
local present = now[1] + now[2] / 1000000
local since = math.min(tonumber(ARGV[1]) or present - 10, present)
return {string.format('%.6f', present), redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf', 'LIMIT', 0, 1000)}
"""


class RedisAgreement:
    """The agreement of a fleet. When Redis does not answer, a process goes on with what it knows: what the fleet agreed
    on, or else a key that it agreed with itself and is `alone` with, until `tsp.leases.rejoin` has asked again.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, bytes] = {}
        self._alone: set[str] = set()

    async def find(self, slot: str) -> bytes | None:
        try:
            found = await self._redis.get(f"cmk:elek:{slot}")
        except (RedisError, OSError):
            return self._known.get(slot)
        if not found:
            return None
        self._alone.discard(slot)
        self._known[slot] = _bytes(found)[:MAX_ELEK]
        return self._known[slot]

    async def settle(self, slot: str, elek: bytes, instead_of: bytes | None) -> bytes:
        try:
            keep = 2 * EPOCH_SECONDS
            found: object = await self._redis.eval(_SWAP, 1, f"cmk:elek:{slot}", elek, instead_of or b"", keep)
        except (RedisError, OSError):
            known = self._known.get(slot)
            found = known if known and known != instead_of else elek
            if found != known:
                self._alone.add(slot)
        else:
            self._alone.discard(slot)
        self._known[slot] = _bytes(found)
        return self._known[slot]

    def alone(self, slot: str) -> bool:
        return slot in self._alone


class Board:
    """One vendor's notices. Redis down: nothing is told and nothing heard, and each process looks after itself."""

    def __init__(self, redis: Redis, vendor: str) -> None:
        self._redis = redis
        self._name = f"cmk:lease:{vendor}"
        self._announced = float("-inf")
        self._heard = ""
        self._behind = False

    async def using(self, leases: Sequence[Lease], wall: float, boot: float) -> None:
        """Once a minute: which ELEKs this process has used lately, so that a worker renews them for all."""
        recent = [lease for lease in leases if boot - lease.used <= IDLE_SECONDS]
        if boot - self._announced < _ANNOUNCE_SECONDS or not recent:
            return
        self._announced = boot
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for lease in recent:
                    member = f"{lease.tenant}:{lease.config}:{lease.digest.hex()}"
                    pipe.zadd(f"{self._name}:used", {member: wall - (boot - lease.used)})
                    pipe.set(f"{self._name}:elek:{member}", lease.elek, ex=_KEEP)
                pipe.zremrangebyscore(f"{self._name}:used", "-inf", wall - _KEEP)
                await pipe.execute()
        except (RedisError, OSError):
            _log.warning("redis does not answer, so this process renews its leases alone")

    async def used(self, since: float, most: int = 20_000) -> list[tuple[Place, bytes]]:
        """For a worker: ((tenant, config), ELEK) of all that was used since then, in wall seconds."""
        found = await self._redis.zrangebyscore(f"{self._name}:used", since, "+inf", start=0, num=most)
        members = [_bytes(one).decode("ascii", "replace") for one in found]
        eleks = await self._redis.mget([f"{self._name}:elek:{one}" for one in members]) if members else []
        listed = []
        for member, elek in zip(members, eleks, strict=True):
            tenant, _, rest = member.partition(":")
            config = rest.partition(":")[0]
            if (
                isinstance(elek, bytes)
                and len(elek) <= MAX_ELEK
                and is_name(tenant)
                and config.isascii()
                and config.isdigit()
            ):
                listed.append(((tenant, int(config)), elek))
        return listed

    async def clock(self) -> float:
        """The time of Redis, in wall seconds. RedisError when it does not answer."""
        seconds, microseconds = await self._redis.time()
        return float(seconds) + float(microseconds) / 1_000_000

    async def proof(self, lease: Lease, wall: float) -> bytes | None:
        """What a worker says; nothing to a process whose wall clock, at `wall` just now, is behind that of Redis."""
        try:
            behind = await self.clock() - wall > SKEW_SECONDS
            found = None if behind else await self._redis.get(self._proof(lease.tenant, lease.config, lease.digest))
        except (RedisError, OSError):
            return None
        if behind and not self._behind:
            _log.warning("the clock of this machine is behind that of redis, so this process renews its leases alone")
        self._behind = behind
        return _bytes(found) if found else None

    async def proved_at(self, place: Place, digest: bytes) -> float | None:
        """For a worker: when the key was proved last, as its proof claims; it only saves work."""
        found = await self._redis.get(self._proof(*place, digest))
        return int.from_bytes(_bytes(found)[:8], "big") / 1000 if found else None

    async def proved(self, place: Place, digest: bytes, proof: bytes) -> None:
        """For a worker."""
        await self._redis.set(self._proof(*place, digest), proof, ex=3600)

    async def refused(self, place: Place) -> None:
        """Tell the others that this tenant's key service said no; they look for themselves."""
        try:
            await self._redis.eval(_REFUSED, 1, f"{self._name}:refused", f"{place[0]}:{place[1]}")
        except (RedisError, OSError):
            _log.warning("redis does not answer, so the others are not told of a refusal: they find out by themselves")

    async def refusals(self) -> list[Place]:
        """The notices since the last call."""
        try:
            reply: object = await self._redis.eval(_REFUSALS, 1, f"{self._name}:refused", self._heard)
        except (RedisError, OSError):
            return []
        if not isinstance(reply, list):
            return []
        self._heard, found = _bytes(reply[0]).decode(), reply[1]
        places = [_bytes(one).decode("ascii", "replace").rpartition(":") for one in found]
        return [(tenant, int(config)) for tenant, _, config in places if config.isascii() and config.isdigit()]

    def _proof(self, tenant: str, config: int, digest: bytes) -> str:
        return f"{self._name}:proof:{tenant}:{config}:{digest.hex()}"


def _bytes(value: object) -> bytes:
    # redis-py types every reply as a union; without decode_responses values are bytes.
    return value if isinstance(value, bytes) else str(value).encode()
