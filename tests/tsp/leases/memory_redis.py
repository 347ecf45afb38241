"""The few commands of Redis that leases use, in memory and in virtual time; tests of the fleet use a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisDown
from redis.exceptions import TimeoutError as RedisTimeout

from tests.support.virtual_time import EPOCH
from tsp.leases import board


class MemoryRedis:
    """`down`: refuses connections; `hangs`: says nothing for 3 s. `values` maps a key to (value, end of its life)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.down = False
        self.hangs = False
        self.values: dict[str, tuple[bytes, float]] = {}
        self.sorted: dict[str, dict[str, float]] = {}

    def flush(self) -> None:
        self.values.clear()
        self.sorted.clear()

    async def get(self, key: str) -> bytes | None:
        await self._up()
        value, until = self.values.get(key, (b"", 0.0))
        return value if self._now() < until else None

    async def time(self) -> tuple[int, int]:
        await self._up()
        seconds = EPOCH + self._now()
        return int(seconds), int(seconds % 1 * 1_000_000)

    async def mget(self, keys: list[str]) -> list[bytes | None]:
        return [await self.get(key) for key in keys]

    async def set(self, key: str, value: bytes, ex: float) -> None:
        await self._up()
        self.values[key] = value, self._now() + ex

    async def eval(self, script: str, count: int, key: str, *given: Any) -> Any:
        """What the scripts of the agreement and of the notices say."""
        await self._up()
        if script == board._SWAP:
            return await self._swap(key, *given)
        notices = self.sorted.setdefault(key, {})
        if script == board._REFUSED:
            notices[given[0]] = self._now()
            return None
        assert script == board._REFUSALS
        since = min(float(given[0] or self._now() - 10), self._now())
        return [b"%.6f" % self._now(), [name.encode() for name, score in notices.items() if score >= since]]

    async def _swap(self, key: str, new: bytes, instead: bytes, keep: int) -> bytes:
        found = await self.get(key)
        if found is not None and found != instead:
            return found
        await self.set(key, new, keep)
        return new

    async def zadd(self, key: str, scores: dict[str, float]) -> None:
        await self._up()
        self.sorted.setdefault(key, {}).update(scores)

    async def zrangebyscore(self, key: str, least: float, most: str, start: int, num: int) -> list[bytes]:
        await self._up()
        found = sorted((score, name) for name, score in self.sorted.get(key, {}).items() if score >= float(least))
        return [name.encode() for _, name in found[start : start + num]]

    async def zremrangebyscore(self, key: str, least: str, most: float) -> None:
        await self._up()
        kept = {name: score for name, score in self.sorted.get(key, {}).items() if score > most}
        self.sorted[key] = kept

    def pipeline(self, transaction: bool = True) -> _Pipeline:
        return _Pipeline(self)

    async def _up(self) -> None:
        if self.hangs:
            await asyncio.sleep(3.0)  # `socket_timeout` of our client
            raise RedisTimeout("Redis does not answer")
        if self.down:
            raise RedisDown("Redis is down")


class _Pipeline:
    def __init__(self, redis: MemoryRedis) -> None:
        self._redis = redis
        self._calls: list[Any] = []

    async def __aenter__(self) -> _Pipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._calls.clear()

    def __getattr__(self, name: str) -> Callable[..., None]:
        command = getattr(self._redis, name)
        return lambda *args, **options: self._calls.append((command, args, options))

    async def execute(self) -> list[Any]:
        calls, self._calls = self._calls, []
        return [await command(*args, **options) for command, args, options in calls]
