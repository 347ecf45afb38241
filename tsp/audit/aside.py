"""What the spool's files need besides writes, on a thread beside the writer's: the next one ready, emptied ones gone.

To make a file of a segment's size, or to delete one, takes milliseconds in the file system; nobody who waits for a
commit, and no request that shares the event loop with a shipper, waits for it here.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tsp.audit.segments import Segment

_log = logging.getLogger("tsp.audit.spool")


class Aside:
    """New segments of `folder`, from the number `following` on, and the end of old ones."""

    def __init__(self, folder: Path, reserve: int, following: int) -> None:
        self._folder, self._reserve, self._following = folder, reserve, following
        self._pool = ThreadPoolExecutor(1, "audit-spool-files")
        self._ahead: Future[Segment] | None = None

    def prepare(self) -> None:
        """Start on the next segment, if nobody has."""
        if self._ahead is None:
            self._ahead = self._pool.submit(self._start, self._number())

    def take(self) -> Segment:
        """The next segment: the one that was prepared, or else one made now. OSError if the disk will not."""
        ahead, self._ahead = self._ahead, None
        try:
            if ahead is not None:
                return ahead.result()
        except OSError as error:  # that was a while ago: now there may be room
            _log.warning("no segment of the audit spool could be made ahead: %s", error.strerror)
        return self._start(self._number())

    def delete(self, segment: Segment) -> None:
        """Soon. After a crash its events may come back, under the same ids."""
        self._pool.submit(_delete, segment)

    def close(self) -> None:
        """When all is done."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.exception() is None:
            self.delete(ahead.result())
        self._pool.shutdown()

    def _number(self) -> int:
        """Given once: the file of an earlier segment may not be deleted yet."""
        self._following += 1
        return self._following - 1

    def _start(self, number: int) -> Segment:
        segment = Segment(self._folder / f"{number:012d}.segment")
        try:
            segment.start(self._reserve)
        except OSError:
            segment.delete()
            raise
        return segment


def _delete(segment: Segment) -> None:
    try:
        segment.delete()
    except OSError as error:
        _log.error("the emptied %s cannot be deleted: %s", segment.path.name, error.strerror)
