"""Brings audit events to the tenants' SIEMs: at least once, oldest first, each tenant by itself. R-16 to R-22."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Protocol

from encrypted_fields.core.errors import UnknownTenant
from tsp.audit.queue import Entry, Source
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.siem.base import Sink, SinkError

_THREADS = 64  # a tenant has one of them at most
_POLL_SECONDS = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LONGEST_RETRY_AFTER = 900.0
_REFUSED_PAUSE = 300.0
_REMEMBERED = 20_000
_log = logging.getLogger("tsp.audit.ship")


class Sinks(Protocol):
    """Where events go: tsp.configs.Configs."""

    @property
    def complete(self) -> bool: ...

    def sink_for(self, queue: str) -> Sink | None: ...


class LogSink(Sink):
    """For tenants without a SIEM: one line of JSON an event on standard output, for the vendor's log collection."""

    label = "Standard output"

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out

    def send(self, events_: Sequence[AuditEvent]) -> None:
        out = self._out or sys.stdout
        out.write("".join(events.dump(event).decode() + "\n" for event in events_))
        out.flush()


@dataclass(slots=True)
class _Line:
    """One queue on its way: since when it fails, and when it is tried again (monotonic)."""

    sink: Sink | None = None
    failures: int = 0
    not_before: float = 0.0
    reason: str = ""


class Shipper:
    """Empties `source` into the sinks of `sinks`; of its queues only those for which `mine` is true."""

    def __init__(
        self,
        source: Source,
        sinks: Sinks,
        *,
        mine: Callable[[str], bool] = lambda queue: True,
        fallback: Sink | None = None,
    ) -> None:
        self._source, self._sinks, self._mine = source, sinks, mine
        self._fallback = fallback or LogSink()
        self._lines: dict[str, _Line] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._recent: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ship")

    async def run(self, seconds: float | None = None) -> None:
        """Ship for ever, or for `seconds`; what is in flight then is finished."""
        until = None if seconds is None else time.monotonic() + seconds
        try:
            while until is None or time.monotonic() < until:
                await self.tick()
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            if self._busy:
                await asyncio.wait(self._busy.values())

    async def tick(self) -> None:
        """Start on every queue that has events, is not paused and not in flight already."""
        try:
            queues = await self._source.queues()
        except Exception as error:  # Redis or the disk: the next tick asks again
            _log.warning("the audit queues cannot be read: %s", type(error).__name__)
            return
        now = time.monotonic()
        for queue in filter(self._mine, queues):
            line = self._lines.setdefault(queue, _Line())
            if queue not in self._busy and (line.not_before <= now or self._changed(queue, line)):
                task = asyncio.create_task(self._work(queue, line))
                self._busy[queue] = task
                task.add_done_callback(lambda _, queue=queue: self._busy.pop(queue, None))  # type: ignore[misc]
        for queue in self._lines.keys() - set(queues) - self._busy.keys():
            del self._lines[queue]

    async def settle(self) -> None:
        """Wait for what is in flight."""
        while self._busy:
            await asyncio.wait(list(self._busy.values()))

    @property
    def trouble(self) -> dict[str, str]:
        """The queues that are paused, and why: for the operator's metrics."""
        return {queue: line.reason for queue, line in self._lines.items() if line.failures}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _work(self, queue: str, line: _Line) -> None:
        try:
            more = True
            while more:
                more = await self._ship(queue, line)
                line.failures = 0
        except SinkError as error:
            self._pause(queue, line, error)
        except Exception as error:  # the trail itself, or a sink's mistake: this queue waits, the others go on
            _log.error("shipping failed", exc_info=error, extra={"tenant": queue})
            self._pause(queue, line, SinkError(type(error).__name__))

    async def _ship(self, queue: str, line: _Line) -> bool:
        """One batch: whether there may be more."""
        try:
            sink = self._sinks.sink_for(queue) or self._fallback
        except UnknownTenant:
            if not self._sinks.complete:
                return False  # its configuration is on the way
            sink = self._fallback
        line.sink = sink
        entries = await self._source.read(queue, sink.batch)
        known = [entry for entry in entries if (queue, entry.event.id) in self._recent]
        if known:  # a trail that lost its connection may hold an event twice
            await self._source.ack(queue, [entry.key for entry in known])
        fresh = [entry for entry in entries if (queue, entry.event.id) not in self._recent]
        if fresh:
            await self._deliver(queue, sink, fresh)
        return len(entries) == sink.batch

    async def _deliver(self, queue: str, sink: Sink, entries: Sequence[Entry], *, guilty: bool = False) -> bool:
        """Whether all were taken. Halves a batch that is rejected until the event at fault is alone (R-19).

        `guilty`: the fault must be in here, since the rest of a rejected batch was taken; asking would be a request too
        many. An event is given up only when it was rejected by itself.
        """
        if not guilty or len(entries) == 1:
            try:
                await self._send(queue, sink, entries)
                return True
            except SinkError as error:
                if error.refused or not error.permanent:
                    raise
                if len(entries) == 1:
                    _log.error("an event was rejected", extra={"tenant": queue, "reason": str(error)})
                    await self._source.bury(queue, entries[0], str(error))
                    return False
        half = len(entries) // 2
        fine = await self._deliver(queue, sink, entries[:half])
        await self._deliver(queue, sink, entries[half:], guilty=fine)
        return False

    async def _send(self, queue: str, sink: Sink, entries: Sequence[Entry]) -> None:
        batch = [entry.event for entry in entries]
        await asyncio.get_running_loop().run_in_executor(self._pool, sink.send, batch)
        self._remember(queue, batch)
        await self._source.ack(queue, [entry.key for entry in entries])

    def _remember(self, queue: str, batch: Collection[AuditEvent]) -> None:
        self._recent.update(((queue, event.id), None) for event in batch)
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def _pause(self, queue: str, line: _Line, error: SinkError) -> None:
        """Full jitter; Retry-After is obeyed up to 15 minutes, and who refuses is asked every 5 (R-18, R-20)."""
        line.failures += 1
        line.reason = str(error)
        pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(line.failures, 10)))  # noqa: S311
        if error.retry_after is not None:
            pause = max(pause, min(error.retry_after, _LONGEST_RETRY_AFTER))
        if error.refused:
            pause = max(pause, _REFUSED_PAUSE)
        line.not_before = time.monotonic() + pause
        _log.warning("the SIEM does not take events", extra={"tenant": queue, "reason": line.reason})

    def _changed(self, queue: str, line: _Line) -> bool:
        """Whether the tenant has changed its SIEM since the failure: then there is nothing to wait for."""
        try:
            return line.failures > 0 and (self._sinks.sink_for(queue) or self._fallback) is not line.sink
        except UnknownTenant:
            return False
