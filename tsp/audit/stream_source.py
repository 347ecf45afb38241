"""The other end of the stream: what the shipper reads, acknowledges and gives up."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, cast

from redis.asyncio import Redis

from tsp.audit.dead import DeadLetter, letter, read_letter
from tsp.audit.queue import Entry, Key
from tsp.audit.stream import queues_name, stream_name
from tsp.contract import events

_log = logging.getLogger("tsp.audit.stream")
# a queue leaves the set only in the same step that finds it empty
_FORGET = """
if #ARGV > 1 then redis.call('XDEL', KEYS[1], unpack(ARGV, 2)) end
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[1])
end
"""
_PAGE = 1_000


class StreamSource:
    """A Source over Redis streams, with the dead letters of each queue in a stream beside it.

    There are no consumer groups: an entry is deleted when it was delivered, so whoever ships next finds all that was
    not, however the last shipper ended, and no second list of pending entries can disagree with the stream.
    """

    def __init__(self, redis: Redis, vendor: str) -> None:
        self._redis, self._vendor = redis, vendor

    async def queues(self) -> list[str]:
        found = await cast(Any, self._redis.smembers(queues_name(self._vendor)))
        return sorted(queue.decode() for queue in found)

    async def read(self, queue: str, count: int) -> list[Entry]:
        found: list[Entry] = []
        for key, fields in await cast(Any, self._redis.xrange(stream_name(self._vendor, queue), count=count)):
            raw = fields.get(b"e", b"")
            try:
                event = events.load(raw)
                ours = event.vendor == self._vendor and event.tenant == queue.partition("~")[0]
            except ValueError:
                ours = False
            if ours:
                found.append(Entry(key.decode(), event))
            else:  # whoever can write to Redis can write anything
                _log.error("an entry of the audit stream is no event of its tenant", extra={"tenant": queue})
                await self._forget(queue, [key])
        if not found:
            await self._forget(queue, [])
        return found

    async def ack(self, queue: str, keys: Collection[Key]) -> None:
        names = [str(key) for key in keys]
        for at in range(0, len(names), _PAGE):
            await self._forget(queue, names[at : at + _PAGE])

    async def bury(self, queue: str, entry: Entry, reason: str) -> None:
        await self._redis.xadd(self._dead(queue), {"e": letter(entry.event, reason)})
        await self._forget(queue, [str(entry.key)])

    async def dead_queues(self) -> list[str]:
        prefix = self._dead("")
        return sorted([key.decode().removeprefix(prefix) async for key in self._redis.scan_iter(match=f"{prefix}*")])

    async def letters(self, queue: str) -> list[DeadLetter]:
        return [letter for _, letter in await self._letters(queue)]

    async def redrive(self, queue: str) -> int:
        """Put the dead letters back into the queue: how many."""
        found = await self._letters(queue)
        for key, one in found:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.xadd(stream_name(self._vendor, queue), {"e": events.dump(one.event)})
                pipe.sadd(queues_name(self._vendor), queue)
                pipe.xdel(self._dead(queue), key)
                await pipe.execute()
        return len(found)

    async def _letters(self, queue: str) -> list[tuple[bytes, DeadLetter]]:
        found = await cast(Any, self._redis.xrange(self._dead(queue)))
        return [(key, read_letter(fields[b"e"])) for key, fields in found]

    async def _forget(self, queue: str, keys: Collection[str | bytes]) -> None:
        stream = stream_name(self._vendor, queue)
        await cast(Any, self._redis.eval(_FORGET, 2, stream, queues_name(self._vendor), queue, *keys))

    def _dead(self, queue: str) -> str:
        return f"cmk:{self._vendor}:audit-dead:{queue}"
