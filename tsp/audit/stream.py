"""The audit trail on Redis: a stream a tenant, on disk before the reply, else the local spool. R-9 to R-12."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from encrypted_fields.core.errors import AuditUnavailable
from tsp.audit.connection import Direct, pool
from tsp.audit.spool import SpoolTrail
from tsp.contract import events
from tsp.contract.events import AuditEvent

_BATCH = 1_000
_PROBE_SECONDS = 1.0
_PRODUCER_SECONDS = 7 * 86_400
_SECONDS = 3.0  # until Redis counts as away
_log = logging.getLogger("tsp.audit.stream")
_Addressed = tuple[str, AuditEvent]
_Line = tuple[str, bytes]  # a queue, and what `events.dump` gives

# All or nothing, as one transaction, and one reply for the whole batch, which is much cheaper to read than one an
# event; so are a queue's events in one argument, each a line, to write. KEYS: producer, set of queues, a stream for
# each queue. ARGV: the batch's number, how long it is kept, then for each queue its name and its events. A number that
# was there, or was given up for lost, is refused: the network may bring a batch long after its connection broke.
_ADD = """
if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return redis.error_reply('a late batch') end
for at = 3, #KEYS do
  for event in string.gmatch(ARGV[2 * at - 2], '[^\\n]+') do redis.call('XADD', KEYS[at], '*', 'e', event) end
  redis.call('SADD', KEYS[2], ARGV[2 * at - 3])
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
"""
# Whether the batch of this number has arrived; if it has not, it never will.
_ARRIVED = """
if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return 1 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 0
"""
_DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


class StreamUnsafe(Exception):
    """Redis would lose events: its settings must be changed before the proxy starts."""


@dataclass(slots=True)
class _Call:
    lines: Sequence[_Line]
    future: asyncio.Future[None]


def connect(url: str) -> Redis:
    """A client that never repeats a command by itself: a repeated XADD would be a second event."""
    options = {"socket_timeout": _SECONDS, "socket_connect_timeout": 1.0, "retry": Retry(NoBackoff(), 0)}
    return Redis.from_pool(pool(url, **options))


def stream_name(vendor: str, queue: str) -> str:
    return f"cmk:{vendor}:audit:{queue}"


def queues_name(vendor: str) -> str:
    """The set of queues that hold events."""
    return f"cmk:{vendor}:audit-queues"


class StreamTrail:
    """An AuditTrail on `redis`, which falls back to `spool` and drains it when Redis is there again.

    A batch is one transaction that also writes its number: after a broken connection that number tells whether the
    batch arrived, so none of its events gets lost or doubled. Queues with "~" stay in the spool, from where this
    process ships them itself (the farewell to a replaced SIEM).
    """

    def __init__(self, redis: Redis, vendor: str, spool: SpoolTrail) -> None:
        self._redis, self._vendor, self._spool = redis, vendor, spool
        self._direct = Direct(redis, _SECONDS)
        self._producer = f"cmk:{vendor}:audit-producer:{secrets.token_hex(8)}"
        self._number = 0
        self._uncertain: tuple[int, list[_Line]] | None = None
        self._waiting: list[_Call] = []
        self._flushing: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()  # only one batch is under way, so that at most one can be uncertain
        self.up = False

    async def start(self) -> None:
        """StreamUnsafe if Redis is there and does not keep what it is given; without Redis the spool takes over."""
        try:
            await self._check()
            self.up = True
        except (RedisError, OSError) as error:
            _log.warning("Redis is away, audit events go to the local spool: %s", type(error).__name__)

    async def run(self) -> None:
        """For ever: notice that Redis is back, and bring over what the spool took meanwhile."""
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            await self.probe()

    async def probe(self) -> None:
        """Bring the spool's events to Redis if it is there; stays on the spool otherwise."""
        try:
            if not self.up:
                await self._check()
            await self._drain()
        except (RedisError, OSError, StreamUnsafe) as error:
            level = logging.ERROR if isinstance(error, StreamUnsafe) else logging.DEBUG
            _log.log(level, "audit events stay in the local spool: %s", error)
            self.up = False
        else:
            self.up = True

    async def record(self, made: Sequence[AuditEvent]) -> None:
        if self.up:
            await self._take(events.written(made))
        else:
            await self._spool.record(made)

    async def put(self, addressed: Sequence[_Addressed]) -> None:
        """Like `record`, with the queue of each event given."""
        rest = [(queue, events.dump(one)) for queue, one in addressed if "~" not in queue] if self.up else []
        local = [one for one in addressed if "~" in one[0]] if self.up else addressed
        if local:
            await self._spool.put(local)
        await self._take(rest)

    async def _take(self, lines: Sequence[_Line]) -> None:
        if not lines:
            return
        call = _Call(lines, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await call.future

    async def close(self) -> None:
        if self._flushing is not None:
            await self._flushing
        await self._direct.close()
        await self._redis.aclose()

    async def _flush(self) -> None:
        """Send what waits, in batches; what comes meanwhile is the next batch."""
        while self._waiting:
            calls, size = [], 0
            while self._waiting and size < _BATCH:
                calls.append(self._waiting.pop(0))
                size += len(calls[-1].lines)
            try:
                async with self._one:
                    await self._keep(calls)
            finally:  # whatever went wrong: nobody waits for ever, and no key leaves
                for call in calls:
                    if not call.future.done():
                        call.future.set_exception(AuditUnavailable())

    async def _keep(self, calls: Sequence[_Call]) -> None:
        try:
            if not self.up:
                raise ConnectionError
            await self._resolve()
            await self._send([one for call in calls for one in call.lines])
        except (RedisError, OSError) as error:
            if self.up:
                _log.warning("Redis is away, audit events go to the local spool: %s", type(error).__name__)
            await asyncio.gather(*(self._spill(call) for call in calls))
            self.up = False  # not before: the probe looks for the batch in the spool
        else:
            for call in calls:
                if not call.future.done():
                    call.future.set_result(None)

    async def _spill(self, call: _Call) -> None:
        try:
            await self._spool.put([(queue, events.load(data)) for queue, data in call.lines])
        except AuditUnavailable as error:
            if not call.future.done():
                call.future.set_exception(error)
        else:
            if not call.future.done():
                call.future.set_result(None)

    async def _send(self, batch: Sequence[_Line]) -> None:
        self._number += 1
        self._uncertain = self._number, list(batch)
        lines: dict[str, list[bytes]] = {}
        for queue, data in batch:
            lines.setdefault(queue, []).append(data)  # one line: JSON escapes a line feed
        keys = [stream_name(self._vendor, queue) for queue in lines]
        added: list[str | bytes] = []
        for queue, found in lines.items():
            added += (queue, b"\n".join(found))
        await self._direct.ask(
            "EVAL", _ADD, 2 + len(keys), self._producer, queues_name(self._vendor), *keys,
            self._number, _PRODUCER_SECONDS, *added,
        )  # fmt: skip
        self._uncertain = None

    async def _drain(self) -> None:
        async with self._one:
            await self._resolve()
        while queues := [queue for queue in await self._spool.queues() if "~" not in queue]:
            for queue in queues:
                async with self._one:
                    await self._resolve()  # meanwhile somebody's batch may have become uncertain, and be in the spool
                    if entries := await self._spool.read(queue, _BATCH):
                        await self._send([(queue, events.dump(entry.event)) for entry in entries])
                        await self._spool.ack(queue, [entry.key for entry in entries])

    async def _resolve(self) -> None:
        """Find out whether the batch at which the connection broke had arrived; if so it must not go again."""
        if self._uncertain is None:
            return
        number, batch = self._uncertain
        if await self._direct.ask("EVAL", _ARRIVED, 1, self._producer, number, _PRODUCER_SECONDS):
            for queue in {queue for queue, _ in batch}:
                arrived = {events.load(data).id for where, data in batch if where == queue}
                kept = await self._spool.read(queue, 1_000_000)
                await self._spool.ack(queue, [entry.key for entry in kept if entry.event.id in arrived])
        self._uncertain = None

    async def _check(self) -> None:
        for name, wanted in _DURABLE.items():
            found = await self._direct.ask("CONFIG GET", name)
            value = next(iter(found.values() if isinstance(found, dict) else found[1:]), b"")
            text = value.decode() if isinstance(value, bytes) else str(value)
            if text != wanted:
                raise StreamUnsafe(
                    f"Redis has '{name} {text}' and could lose audit events: set '{name} {wanted}' (docs/operations.md)"
                )
