"""How much a bounded trail holds, and who may put in more."""

from __future__ import annotations

# A queue may hold this many times what is still free: one alone gets 3/4, and there is always room for another tenant.
_SHARE = 3


class Room:
    """Counts events and bytes by queue. A flood from one tenant leaves room for the others (R-29)."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._held: dict[str, tuple[int, int]] = {}
        self.events = self.bytes = 0

    def has(self, queue: str, size: int) -> bool:
        """Whether `queue` may take one more event of `size` bytes."""
        count, length = self._held.get(queue, (0, 0))
        fits = count + 1 <= _SHARE * (self._max_events - self.events)
        return fits and length + size <= _SHARE * (self._max_bytes - self.bytes)

    def take_all(self, queue: str, count: int, size: int) -> bool:
        """Take room for `count` events of `size` bytes together, if there is plenty; else each is asked for."""
        held = self._held.get(queue, (0, 0))
        if held[0] + count > _SHARE * (self._max_events - self.events - count):
            return False
        if held[1] + size > _SHARE * (self._max_bytes - self.bytes - size):
            return False
        self._move(queue, count, size)
        return True

    def take(self, queue: str, size: int) -> None:
        self._move(queue, 1, size)

    def give(self, queue: str, size: int, count: int = 1) -> None:
        """Take `count` events of `size` bytes together out again."""
        if count:
            self._move(queue, -count, -size)

    def _move(self, queue: str, count: int, size: int) -> None:
        held = self._held.get(queue, (0, 0))
        if held[0] + count:
            self._held[queue] = (held[0] + count, held[1] + size)
        else:
            del self._held[queue]
        self.events += count
        self.bytes += size
