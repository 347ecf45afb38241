"""What a run leaves behind, as plain data. The oracle looks at nothing else, so a history can also be made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.aws_kms import Asked
from tests.support.people import VENDOR
from tests.support.saas import Call
from tsp.contract.sealed import Record
from tsp.contract.tenant import Leasing
from tsp.leases.lease import epoch

PROXIES, WORKERS, TENANTS = 3, 2, 20


@dataclass(frozen=True, slots=True)
class Disturbed:
    """From `began` to `ended` (CLOCK_BOOTTIME) `what` could not do its work: "redis", or a proxy's name."""

    what: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Shift:
    """A proxy's clocks were moved: `boot` is never negative."""

    proxy: str
    at: float
    boot: float


@dataclass(frozen=True, slots=True)
class Alone:
    """At `at` a proxy said that Redis does not answer, and that it wraps under `key` alone: the mark of its ELEK."""

    proxy: str
    at: float
    tenant: str
    key: str


@dataclass
class Customer:
    """A tenant; `kms` is the number of the double that holds its key, which is named like the tenant."""

    name: str
    number: int
    leasing: Leasing
    kms: int
    record: Record | None = None
    version: int = 1

    @property
    def config(self) -> int:
        return 100 + self.number

    def epoch(self, wall: float, version: int = 0) -> int:
        """The number of the 30 days that its leased key of a version, or of the newest, is in."""
        return epoch(f"{VENDOR}:{self.name}:{self.config}:{version or self.version}", wall)[0]

    def slots(self, walls: tuple[float, float]) -> int:
        """How many leased keys a fleet may agree on while its proxies' wall clocks are within `walls`: one a version
        and epoch.
        """
        low, high = walls
        return sum(self.epoch(high, one) - self.epoch(low, one) + 1 for one in range(1, self.version + 1))


@dataclass(frozen=True)
class Evidence:
    """`asked`: what the key services saw. `events`: what the log servers took. `reports`: what proxies told the portal.
    `ports`: port → proxy. `walls`: the earliest and the latest time on any proxy's wall clock.
    """

    calls: Sequence[Call]
    asked: Sequence[Asked]
    customers: Sequence[Customer]
    ports: dict[int, str]
    walls: tuple[float, float]
    events: Sequence[dict[str, Any]] = ()
    reports: Sequence[dict[str, Any]] = ()
    shifts: Sequence[Shift] = ()
    disturbed: Sequence[Disturbed] = ()
    alone: Sequence[Alone] = field(default=())
