"""The second store of version marks, in Redis: wiping the proxy's disk does not let an old configuration in (T-5)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tsp.configs.admission import Mark
from tsp.configs.shelf import Marked

_log = logging.getLogger("tsp.configs")
# never lowers a mark: two proxies may write at the same time
_RAISE = """
for i = 1, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if not old or tonumber(string.match(old, '^%d+')) < tonumber(string.match(ARGV[i + 1], '^%d+')) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
"""


class SharedMarks:
    """Marks of all proxies of a vendor. A forged one refuses a record or leaves out its trial, at most (T-9)."""

    def __init__(self, redis: Redis, vendor: str) -> None:
        self._redis, self._name = redis, f"cmk:{vendor}:marks"
        self._owed: dict[Marked, Mark] = {}

    async def get(self, keys: Iterable[Marked]) -> dict[Marked, Mark]:
        """The marks that Redis has of `keys`; none when it cannot be reached."""
        wanted = list(keys)
        if not wanted:
            return {}
        try:
            values = await cast(Any, self._redis.hmget(self._name, [_field(key) for key in wanted]))
        except (RedisError, OSError) as error:
            _log.warning("version marks cannot be read from Redis: %s", type(error).__name__)
            return {}
        found = {key: _parse(value) for key, value in zip(wanted, values, strict=True) if value is not None}
        return {key: mark for key, mark in found.items() if mark is not None}

    async def put(self, marks: Mapping[Marked, Mark]) -> None:
        """Raise marks; what cannot be written now is written with the next ones."""
        self._owed.update(marks)
        if not self._owed:
            return
        sent = dict(self._owed)
        flat = [text for key, mark in sent.items() for text in (_field(key), f"{mark.version} {mark.hash}")]
        try:
            await cast(Any, self._redis.eval(_RAISE, 1, self._name, *flat))
        except (RedisError, OSError) as error:
            _log.warning("version marks cannot be written to Redis: %s", type(error).__name__)
            return
        for key, mark in sent.items():
            if self._owed.get(key) == mark:
                del self._owed[key]

    async def first_to_warn(self, what: str, seconds: int) -> bool:
        """Whether no proxy of the vendor has given this warning within `seconds`; True when Redis cannot be reached."""
        try:
            found = await self._redis.set(f"{self._name}:warned:{what}", b"1", nx=True, ex=seconds)
        except (RedisError, OSError):
            return True  # rather twice than never
        return found is not None


def _field(key: Marked) -> str:
    return f"{key[0]}/{key[1]}/{key[2]}"


def _parse(value: bytes) -> Mark | None:
    version, _, digest = value.decode(errors="replace").partition(" ")
    return Mark(int(version), digest) if version.isascii() and version.isdigit() and len(version) < 11 else None
