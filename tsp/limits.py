"""How much a caller or a tenant may ask for: rates and budgets in constant memory, one number or three a name. T-13."""

from __future__ import annotations

from dataclasses import dataclass

_TIDY = 1_024  # names; from there on those that have asked for nothing lately are forgotten at each doubling


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests a second for each API key and each tenant, and keys a minute that a tenant may unwrap. 0: no limit.

    Each process counts for itself.
    """

    per_key: int = 0
    per_tenant: int = 0
    unwrap_budget: int = 0


class Rate:
    """A token bucket for each name: `per_second` for ever, and `burst` at once. Keeps when a bucket is full again."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._each = 1.0 / per_second
        self._slack = burst * self._each
        self._full: dict[str, float] = {}
        self._tidy = _TIDY

    def take(self, name: str, now: float) -> float:
        """0 and one token is gone, or the seconds to wait for the next one."""
        full = max(self._full.get(name, 0.0), now) + self._each
        late = full - now - self._slack
        if late > 1e-9:
            return late
        self._full[name] = full
        if len(self._full) > self._tidy:
            self._full = {other: until for other, until in self._full.items() if until > now}
            self._tidy = max(_TIDY, 2 * len(self._full))
        return 0.0


class Budget:
    """At most `most` in a minute for each name, all at once or spread. The minute slides: what was used in the last
    one counts by the part of it that is still within 60 seconds."""

    _SECONDS = 60.0

    def __init__(self, most: int) -> None:
        self._most = most
        self._used: dict[str, tuple[float, int, int]] = {}  # start of the minute, used before it, used in it
        self._tidy = _TIDY

    def take(self, name: str, count: int, now: float) -> float:
        """0 and `count` is used, or the seconds after which it may be tried again; then nothing is used."""
        start, before, used = self._used.get(name, (now, 0, 0))
        passed = int((now - start) / self._SECONDS)
        if passed:
            start, before, used = start + passed * self._SECONDS, used if passed == 1 else 0, 0
        gone = (now - start) / self._SECONDS
        if before * (1.0 - gone) + used + count > self._most:
            return max(self._SECONDS * (1.0 - gone), 1.0)
        self._used[name] = (start, before, used + count)
        if len(self._used) > self._tidy:
            since = now - 2 * self._SECONDS
            self._used = {other: entry for other, entry in self._used.items() if entry[0] > since}
            self._tidy = max(_TIDY, 2 * len(self._used))
        return 0.0
