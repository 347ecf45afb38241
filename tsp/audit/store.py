"""Where the spool's events lie: an index over the segments, by queue, and the clearing of what was delivered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from tsp.audit.aside import Aside
from tsp.audit.segments import Found, Segment, existing, framed, number

_AHEAD = 16_384  # bytes; a queue's events mostly lie side by side, so some forty come with one read
_32 = 0xFFFF_FFFF
_log = logging.getLogger("tsp.audit.spool")


def _place(segment: int, at: int, length: int) -> int:
    """Where a body lies. One number: 100,000 objects that wait would be walked by each full garbage collection."""
    return segment << 64 | at << 32 | length


class Store:
    """Queues of bodies in `folder`. One thread appends, any thread reads and forgets.

    Disk space: at most about `max_bytes` or twice what is live, whichever is more, and three segments.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int) -> None:
        self._max_bytes, self._segment_bytes = max_bytes, segment_bytes
        self._lock = threading.Lock()
        self._queues: dict[str, dict[int, int]] = {}  # by queue the places, numbered in the order of their arrival
        self._segments: dict[int, Segment] = {}  # by their numbers, the oldest first
        self._active: Segment | None = None  # the one that is written to; never one that an earlier process wrote
        self._last = 0
        paths = existing(folder)
        self._aside = Aside(folder, segment_bytes, number(paths[-1]) + 1 if paths else 1)
        for path in paths:
            segment = self._segments[number(path)] = Segment(path)
            self._index(segment, segment.scan())
            self._delete_if_empty(segment)

    def append(self, frames: Sequence[tuple[str, bytes]]) -> None:
        """Add (queue, body) pairs, durably: all of them, or none and OSError."""
        data, found = framed(frames)
        try:
            segment = self._writable()
            at = segment.append(data)
        except OSError:
            # fsync after a failed fsync may lie: this file gets no more writes
            with self._lock:
                old, self._active = self._active, None
                if old is not None:
                    self._delete_if_empty(old)
            raise
        with self._lock:
            self._index(segment, found, at)
        self._tidy()

    def queues(self) -> list[str]:
        with self._lock:
            return list(self._queues)

    def read(self, queue: str, count: int) -> list[tuple[int, bytes]]:
        """The oldest `count` bodies with their numbers."""
        with self._lock:
            found = list(islice(self._queues.get(queue, {}).items(), count))
            bodies = self._bodies([place for _, place in found])
            return [(key, body) for (key, _), body in zip(found, bodies, strict=True)]

    def oldest(self) -> bytes | None:
        """The body that has waited longest, of all queues."""
        with self._lock:
            first = min(((next(iter(places)), queue) for queue, places in self._queues.items()), default=None)
            return None if first is None else self._bodies([self._queues[first[1]][first[0]]])[0]

    def forget(self, queue: str, keys: Sequence[int]) -> tuple[int, int]:
        """Drop those of `keys` that are there: how many they were, and the length of their bodies together."""
        with self._lock:
            places = self._queues.get(queue, {})
            gone = [places.pop(key) for key in keys if key in places]
            if not places:
                self._queues.pop(queue, None)
            touched: dict[int, list[int]] = {}
            for place in gone:
                touched.setdefault(place >> 64, []).append(place >> 32 & _32)
            for name, offsets in touched.items():
                segment = self._segments[name]
                segment.live -= len(offsets)
                if not self._delete_if_empty(segment):
                    segment.ack(offsets)
            return len(gone), sum([place & _32 for place in gone])

    def sizes(self) -> list[tuple[str, int]]:
        """Queue and length of everything that is live."""
        with self._lock:
            return [(queue, place & _32) for queue, _, place in self._places()]

    def close(self) -> None:
        with self._lock:
            self._aside.close()
            for segment in self._segments.values():
                segment.close()
            self._segments.clear()
            self._queues.clear()

    def _writable(self) -> Segment:
        active = self._active
        if active is None or active.size >= self._segment_bytes:
            active = self._aside.take()
            with self._lock:
                self._segments[number(active.path)] = active
                old, self._active = self._active, active
                if old is not None:
                    self._delete_if_empty(old)
        elif active.size >= self._segment_bytes // 2:
            self._aside.prepare()
        return active

    def _index(self, segment: Segment, found: Iterable[Found], start: int = 0) -> None:
        here, last, queues = _place(number(segment.path), start, 0), self._last, self._queues
        for queue, at, length in found:
            places = queues.get(queue)
            if places is None:
                places = queues[queue] = {}
            last += 1
            places[last] = here + (at << 32 | length)
        segment.live += last - self._last
        self._last = last

    def _delete_if_empty(self, segment: Segment) -> bool:
        if segment.live or segment is self._active:
            return False
        del self._segments[number(segment.path)]
        self._aside.delete(segment)
        return True

    def _bodies(self, places: Sequence[int]) -> list[bytes]:
        """What lies at `places`."""
        found: list[bytes] = []
        data, start = b"", 0
        for place in places:
            at, length = place >> 32, place & _32  # `at` with the segment's number before it
            if not start <= at <= start + len(data) - length:
                data, start = self._segments[at >> 32].read(at & _32, max(length, _AHEAD)), at
            found.append(data[at - start : at - start + length])
        return found

    def _tidy(self) -> None:
        """Move what is left in the oldest segment to the end, when most of the disk space is delivered events.

        A tenant whose receiver is down must not pin the segments of all others.
        """
        with self._lock:
            oldest = next(iter(self._segments.values()))
            on_disk = sum(segment.size for segment in self._segments.values())
            if oldest is self._active or on_disk < self._max_bytes:
                return
            live = list(self._places())
            if on_disk < 2 * sum(place & _32 for _, _, place in live):
                return
            moved = [item for item in live if item[2] >> 64 == number(oldest.path)]
            bodies = self._bodies([place for _, _, place in moved])
        data, found = framed((queue, body) for (queue, _, _), body in zip(moved, bodies, strict=True))
        try:
            segment = self._writable()
            at = segment.append(data)
        except OSError as error:
            _log.error("the audit spool cannot be tidied up: %s", error.strerror)
            return
        here = number(segment.path)
        with self._lock:
            for (queue, key, _), (_, start, length) in zip(moved, found, strict=True):
                if key in self._queues.get(queue, {}):
                    self._queues[queue][key] = _place(here, at + start, length)
                    segment.live += 1
                    oldest.live -= 1
                else:  # delivered meanwhile
                    segment.ack([at + start])
            if number(oldest.path) in self._segments:
                self._delete_if_empty(oldest)

    def _places(self) -> Iterator[tuple[str, int, int]]:
        for queue, places in self._queues.items():
            for key, place in places.items():
                yield queue, key, place
