"""The one seam where time enters the proxy: seconds since boot, also through suspend, and seconds since 1970."""

from __future__ import annotations

import time
from typing import Protocol

# CLOCK_MONOTONIC stops while the machine sleeps, so a lease would outlive its hour; macOS has no BOOTTIME, and its
# monotonic clock goes on in sleep under this other name.
_BOOT: int = getattr(time, "CLOCK_BOOTTIME", 0) or getattr(time, "CLOCK_MONOTONIC_RAW", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """`boot` never goes back and nobody can set it; `wall` can jump either way."""

    def boot(self) -> float: ...

    def wall(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def boot(self) -> float:
        return time.clock_gettime(_BOOT)

    def wall(self) -> float:
        return time.time()
