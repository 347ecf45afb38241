"""Rounds: what is compared runs once a round in shuffled order, so that noise of the machine hits all alike."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_draw = random.Random(2026)


@dataclass
class Table:
    """One comparison: rows of (name, median, ratio to the baseline's in the same rounds), in `unit`."""

    title: str
    unit: str
    rows: list[tuple[str, float, float]]
    notes: list[str] = field(default_factory=list)
    more_is_better: bool = False

    def dump(self) -> dict[str, Any]:
        rows = [{"name": name, "median": median, "ratio": ratio} for name, median, ratio in self.rows]
        return {"title": self.title, "unit": self.unit, "rows": rows, "notes": self.notes}


def compare(
    title: str, unit: str, runs: Mapping[str, Callable[[], float]], rounds: int, *, more_is_better: bool = False
) -> Table:
    """Each run gives one figure a round; the first is the baseline. Median, and median of the per-round ratios."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        names = list(runs)
        _draw.shuffle(names)
        for name in names:
            gc.collect()
            found[name].append(runs[name]())
    base = next(iter(found.values()))
    rows = [
        (
            name,
            statistics.median(values),
            statistics.median(value / one for value, one in zip(values, base, strict=True)),
        )
        for name, values in found.items()
    ]
    return Table(title, unit, rows, [f"{rounds} shuffled rounds"], more_is_better)


def timed(work: Callable[[], object], seconds: float) -> Callable[[], float]:
    """A run that gives the microseconds of one call of `work`, repeated for about `seconds`."""

    def run() -> float:
        count, start = 1, time.perf_counter()
        work()
        once = time.perf_counter() - start
        count = max(1, int(seconds / max(once, 1e-7)))
        start = time.perf_counter()
        for _ in range(count):
            work()
        return (time.perf_counter() - start) / count * 1e6

    return run


def clocked(work: Callable[[], object]) -> Callable[[], float]:
    """A run that gives the milliseconds of one call of `work`."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1e3

    return run
