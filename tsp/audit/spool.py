"""The local audit trail: append-only files, one fsync for all who wait, bounded. R-9, R-10, R-25, R-29."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from encrypted_fields.core.errors import AuditUnavailable
from tsp.audit.dead import DeadFiles
from tsp.audit.dropped import Dropped
from tsp.audit.queue import MAX_EVENT, Entry, Key, WhenFull
from tsp.audit.room import Room
from tsp.audit.segments import SEGMENT_BYTES
from tsp.audit.store import Store
from tsp.contract import events
from tsp.contract.events import AuditEvent

MAX_BYTES = 64 * 1024 * 1024
MAX_EVENTS = 100_000
_TOO_LONG = f"an audit event is at most {MAX_EVENT} bytes long"
_log = logging.getLogger("tsp.audit.spool")


class SpoolTrail:
    """An AuditTrail and its Source in `folder`, which one process owns; AuditUnavailable when another one does.

    `when_full(tenant)` says what happens to a tenant's events that cannot be kept: refuse the call, or count them and
    tell the tenant with an `audit.dropped` event as soon as there is room (R-29).
    """

    def __init__(
        self,
        folder: Path,
        *,
        when_full: Callable[[str], WhenFull] = lambda tenant: "refuse",
        max_bytes: int = MAX_BYTES,
        max_events: int = MAX_EVENTS,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.when_full = when_full
        self._owner = _own(folder)
        self._dead = DeadFiles(folder / "dead")
        self._dropped = Dropped(folder / "dropped.json")
        self._store = Store(folder, max_bytes=max_bytes, segment_bytes=segment_bytes)
        self._room = Room(max_events, max_bytes)  # what is on disk and on the way there
        for queue, length in self._store.sizes():
            self._room.take(queue, length)
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._asleep = False  # the writer has nothing to do, and waits for the bell
        self._ringing: asyncio.AbstractEventLoop | None = None  # the loop that is about to ring it
        self._closing = False
        self._writer = threading.Thread(target=self._write_all, name="audit-spool", daemon=True)
        self._writer.start()

    async def record(self, made: Sequence[AuditEvent]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._accept_all(made, future) or self._accept([(event.tenant, event) for event in made], future):
            await future

    async def put(self, addressed: Sequence[tuple[str, AuditEvent]]) -> None:
        """Like `record`, with the queue of each event given."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._accept(addressed, future):
            await future

    async def queues(self) -> list[str]:
        for queue, returning, path in self._dead.returning():  # `redrive` was asked for
            await self.put([(queue, event) for event in returning])
            path.unlink()
        return self._store.queues()

    async def read(self, queue: str, count: int) -> list[Entry]:
        return await asyncio.to_thread(self._read, queue, count)

    async def ack(self, queue: str, keys: Collection[Key]) -> None:
        await asyncio.to_thread(self.forget, queue, [key for key in keys if isinstance(key, int)])

    def lines(self, queue: str, count: int) -> list[tuple[int, bytes]]:
        """Like `read`, each event still the line of JSON that it is on disk. Blocks; from any thread."""
        return self._store.read(queue, count)

    def forget(self, queue: str, keys: Sequence[int]) -> None:
        """Like `ack`. Blocks; from any thread."""
        count, size = self._store.forget(queue, keys)
        with self._lock:
            self._room.give(queue, size, count)
            self._tell_dropped()

    async def bury(self, queue: str, entry: Entry, reason: str) -> None:
        await asyncio.to_thread(self._dead.add, queue, entry.event, reason)
        await self.ack(queue, [entry.key])

    @property
    def pending(self) -> int:
        """How many events wait to be acknowledged, in all queues."""
        return self._room.events

    @property
    def oldest(self) -> float | None:
        """When the event that has waited longest was made, in seconds since 1970; reads it from disk."""
        body = self._store.oldest()
        return None if body is None else events.made(events.load(body).id)

    def close(self) -> None:
        """Write what waits and let go of the folder. Blocks as long as that takes; may be called twice."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._wake()
        self._writer.join()
        self._store.close()
        os.close(self._owner)

    def _read(self, queue: str, count: int) -> list[Entry]:
        return [Entry(key, events.load(body)) for key, body in self._store.read(queue, count)]

    def _accept_all(self, made: Sequence[AuditEvent], future: asyncio.Future[None]) -> bool:
        """The short way for what one tenant's request made while there is plenty of room; False if it is not that."""
        lines = events.written(made)
        if len({tenant for tenant, _ in lines}) != 1:
            return False
        sizes = [len(body) for _, body in lines]
        if max(sizes) > MAX_EVENT:
            raise ValueError(_TOO_LONG)
        tenant = lines[0][0]
        strict = self.when_full(tenant) == "refuse"
        with self._lock:
            if self._closing or not self._room.take_all(tenant, len(lines), sum(sizes)):
                return False
            self._hand(_Call(future, lines, made, strict))
        return True

    def _accept(self, addressed: Sequence[tuple[str, AuditEvent]], future: asyncio.Future[None]) -> bool:
        """Take room and hand the call to the writer; False if there is nothing to wait for."""
        frames: list[tuple[str, bytes]] = []
        kept: list[AuditEvent] = []
        strict, lost = False, []
        bodies = [(queue, event, _body(event)) for queue, event in addressed]
        with self._lock:
            for queue, event, body in bodies:
                refuses = self.when_full(event.tenant) == "refuse"
                if not self._closing and self._room.has(queue, len(body)):
                    self._room.take(queue, len(body))
                    frames.append((queue, body))
                    kept.append(event)
                    strict |= refuses
                elif refuses:
                    for held, taken in frames:
                        self._room.give(held, len(taken))
                    raise AuditUnavailable
                else:
                    lost.append(event)
            for event in lost:
                self._dropped.add(event)
            if frames:
                self._hand(_Call(future, frames, kept, strict))
            elif lost:
                self._wake()  # the counts are to be saved
        return bool(frames)

    def _hand(self, call: _Call) -> None:
        """To the writer, which is woken once for all that this turn of the loop brings: waking it is what costs."""
        self._waiting.append(call)
        loop = asyncio.get_running_loop()
        if self._asleep and self._ringing is not loop:
            self._ringing = loop
            loop.call_soon(self._ring)

    def _ring(self) -> None:
        with self._lock:
            self._wake()

    def _wake(self) -> None:
        """Once a sleep: a writer at work looks again before it sleeps. With the lock."""
        if self._asleep:
            self._asleep, self._ringing = False, None
            self._bell.put(None)

    def _tell_dropped(self) -> None:
        """Put the counts of dropped events into the queues that have room again."""
        for event in self._dropped.waiting():
            body = _body(event)
            if not self._closing and self._room.has(event.tenant, len(body)):
                self._room.take(event.tenant, len(body))
                self._dropped.take(event)
                self._waiting.append(_Call(None, [(event.tenant, body)], [event], False))
                self._wake()

    def _write_all(self) -> None:
        while True:
            with self._lock:
                calls, self._waiting = self._waiting, []
                counts = self._dropped.snapshot()
                self._asleep = idle = not calls and counts is None
                if idle and self._closing:
                    return
            if idle:
                self._bell.get()
                continue
            error = self._commit(calls) if calls else None
            if counts is not None:
                self._dropped.save(counts)
            _answer(calls, error)

    def _commit(self, calls: list[_Call]) -> AuditUnavailable | None:
        try:
            self._store.append([one for call in calls for one in call.frames])
        except OSError as error:  # ENOSPC, EIO, EDQUOT, EROFS: whatever it is, the events are not on disk
            _log.error("the audit spool cannot be written: %s", error.strerror)
        except Exception:  # the thread must live on, or every caller would wait for ever
            _log.exception("the audit spool failed")
        else:
            return None
        with self._lock:
            for call in calls:
                for queue, body in call.frames:
                    self._room.give(queue, len(body))
                for event in () if call.strict else call.events:
                    self._dropped.add(event)
        return AuditUnavailable()


@dataclass(slots=True)
class _Call:
    """What one caller waits for: frames in order, and whom to tell."""

    future: asyncio.Future[None] | None  # None: nobody waits, what fails is counted again
    frames: Sequence[tuple[str, bytes]]
    events: Sequence[AuditEvent]
    strict: bool  # else they are counted, and the caller goes on, if the disk fails


def _own(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise AuditUnavailable(f"another process owns the audit spool in {folder}") from None
    return lock


def _body(event: AuditEvent) -> bytes:
    body = events.dump(event)
    if len(body) > MAX_EVENT:
        raise ValueError(_TOO_LONG)
    return body


def _answer(calls: Sequence[_Call], error: AuditUnavailable | None) -> None:
    """Tell the callers, each in its own loop: one wake-up a loop, since each costs a system call."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Call]] = {}
    for call in calls:
        if call.future is not None:
            by_loop.setdefault(call.future.get_loop(), []).append(call)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, waiting, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _log.debug("callers of the spool are gone")


def _resolve(calls: Sequence[_Call], error: AuditUnavailable | None) -> None:
    for call in calls:
        if call.future is None or call.future.done():
            continue
        if error is None or not call.strict:
            call.future.set_result(None)
        else:
            call.future.set_exception(AuditUnavailable())
