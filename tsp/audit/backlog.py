"""How many events wait for their SIEMs, and for how long: looked up every 15 seconds, for the operator's port."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tsp.audit.spool import SpoolTrail
from tsp.audit.stream import queues_name, stream_name

_LOOK_SECONDS = 15.0
_log = logging.getLogger(__name__)


class Backlog:
    """Of this process's spool and, with Redis, of the fleet's streams."""

    def __init__(self, spool: SpoolTrail, redis: Redis | None, vendor: str) -> None:
        self._spool, self._redis, self._vendor = spool, redis, vendor
        self._streamed = 0
        self._oldest: float | None = None

    @property
    def events(self) -> int:
        return self._spool.pending + self._streamed

    @property
    def seconds(self) -> float:
        """The age of the event that has waited longest, as of the last look; 0 if none waits."""
        return max(time.time() - self._oldest, 0.0) if self._oldest is not None and self.events else 0.0

    async def look(self) -> None:
        """Count now. While Redis does not answer, what was in it last stays."""
        found = [await asyncio.to_thread(lambda: self._spool.oldest)]
        if self._redis is not None:
            try:
                found.append(await self._streams(self._redis))
            except (RedisError, OSError):
                _log.warning("redis does not answer, so its backlog is not known")
                found.append(self._oldest)
        self._oldest = min((one for one in found if one is not None), default=None)

    async def run(self) -> None:
        """Until cancelled. A fault of one look is logged, and the next one comes."""
        while True:
            try:
                await self.look()
            except Exception:  # a figure for the operator must not end the proxy
                _log.exception("the backlog could not be counted")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _streams(self, redis: Redis) -> float | None:
        queues = [one.decode() for one in await cast(Any, redis.smembers(queues_name(self._vendor)))]
        async with redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.xlen(stream_name(self._vendor, queue))
                pipe.xrange(stream_name(self._vendor, queue), count=1)
            answers = await pipe.execute()
        self._streamed = sum(answers[::2])
        starts = [int(entries[0][0].partition(b"-")[0]) / 1000 for entries in answers[1::2] if entries]
        return min(starts, default=None)
