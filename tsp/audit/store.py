"""Where the spool's events lie: an index over the segments, by queue, and the clearing of what was delivered."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tsp.audit.segments import Segment, body_offset, existing, frame, number

_log = logging.getLogger("tsp.audit.spool")


class _Place(NamedTuple):
    segment: Segment
    at: int
    length: int


class Store:
    """Queues of bodies in `folder`. One thread appends, any thread reads and forgets.

    Disk space: at most about `max_bytes` or twice what is live, whichever is more, and two segments.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int) -> None:
        self._folder, self._max_bytes, self._segment_bytes = folder, max_bytes, segment_bytes
        self._lock = threading.Lock()
        self._queues: dict[str, dict[int, _Place]] = {}
        self._segments: deque[Segment] = deque()
        self._active: Segment | None = None  # the one that is written to; never one that an earlier process wrote
        self._last = 0
        for path in existing(folder):
            segment = Segment(path)
            self._segments.append(segment)
            for found in segment.scan():
                self._index(found.queue, _Place(segment, found.at, found.length))
            self._delete_if_empty(segment)

    def append(self, frames: Sequence[tuple[str, bytes]]) -> None:
        """Add (queue, body) pairs, durably: all of them, or none and OSError."""
        data = [frame(queue, body) for queue, body in frames]
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
            for (queue, body), whole in zip(frames, data, strict=True):
                self._index(queue, _Place(segment, at + body_offset(queue), len(body)))
                at += len(whole)
        self._tidy()

    def queues(self) -> list[str]:
        with self._lock:
            return list(self._queues)

    def read(self, queue: str, count: int) -> list[tuple[int, bytes]]:
        """The oldest `count` bodies with their numbers."""
        with self._lock:
            places = [item for item, _ in zip(self._queues.get(queue, {}).items(), range(count), strict=False)]
            return [(key, place.segment.read(place.at, place.length)) for key, place in places]

    def oldest(self) -> bytes | None:
        """The body that has waited longest, of all queues."""
        with self._lock:
            first = min(((next(iter(places)), queue) for queue, places in self._queues.items()), default=None)
            if first is None:
                return None
            place = self._queues[first[1]][first[0]]
            return place.segment.read(place.at, place.length)

    def forget(self, queue: str, keys: Sequence[int]) -> list[int]:
        """Drop those of `keys` that are there: the lengths of their bodies."""
        with self._lock:
            places = self._queues.get(queue, {})
            gone = [places.pop(key) for key in keys if key in places]
            if not places:
                self._queues.pop(queue, None)
            touched: dict[Segment, list[int]] = {}
            for place in gone:
                touched.setdefault(place.segment, []).append(place.at)
            for segment, offsets in touched.items():
                segment.live -= len(offsets)
                if not self._delete_if_empty(segment):
                    segment.ack(offsets)
            return [place.length for place in gone]

    def sizes(self) -> list[tuple[str, int]]:
        """Queue and length of everything that is live."""
        with self._lock:
            return [(queue, place.length) for queue, _, place in self._places()]

    def close(self) -> None:
        with self._lock:
            for segment in self._segments:
                segment.close()
            self._segments.clear()
            self._queues.clear()

    def _writable(self) -> Segment:
        if self._active is None or self._active.size >= self._segment_bytes:
            last = number(self._segments[-1].path) if self._segments else 0
            segment = Segment(self._folder / f"{last + 1:012d}.segment")
            try:
                segment.start()
            except OSError:
                segment.delete()
                raise
            with self._lock:
                self._segments.append(segment)
                old, self._active = self._active, segment
                if old is not None:
                    self._delete_if_empty(old)
        assert self._active is not None
        return self._active

    def _index(self, queue: str, place: _Place) -> None:
        self._last += 1
        self._queues.setdefault(queue, {})[self._last] = place
        place.segment.live += 1

    def _delete_if_empty(self, segment: Segment) -> bool:
        if segment.live or segment is self._active:
            return False
        self._segments.remove(segment)
        segment.delete()
        return True

    def _tidy(self) -> None:
        """Move what is left in the oldest segment to the end, when most of the disk space is delivered events.

        A tenant whose receiver is down must not pin the segments of all others.
        """
        with self._lock:
            oldest = self._segments[0]
            on_disk = sum(segment.size for segment in self._segments)
            if oldest is self._active or on_disk < self._max_bytes:
                return
            live = [(queue, key, place) for queue, key, place in self._places()]
            if on_disk < 2 * sum(place.length for _, _, place in live):
                return
            moved = [item for item in live if item[2].segment is oldest]
            bodies = [oldest.read(place.at, place.length) for _, _, place in moved]
        data = [frame(queue, body) for (queue, _, _), body in zip(moved, bodies, strict=True)]
        try:
            segment = self._writable()
            at = segment.append(data)
        except OSError as error:
            _log.error("the audit spool cannot be tidied up: %s", error.strerror)
            return
        with self._lock:
            for (queue, key, place), whole in zip(moved, data, strict=True):
                there = _Place(segment, at + body_offset(queue), place.length)
                at += len(whole)
                if key in self._queues.get(queue, {}):
                    self._queues[queue][key] = there
                    segment.live += 1
                    oldest.live -= 1
                else:  # delivered meanwhile
                    segment.ack([there.at])
            if oldest in self._segments:
                self._delete_if_empty(oldest)

    def _places(self) -> Iterator[tuple[str, int, _Place]]:
        for queue, places in self._queues.items():
            for key, place in places.items():
                yield queue, key, place
