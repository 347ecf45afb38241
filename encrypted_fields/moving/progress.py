"""How far a long pass is: a bar with `rich` on a terminal, else a line now and then. Rate and time left in both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

SECONDS = 5.0  # between two plain lines


@contextmanager
def progress(title: str, total: int, stream: Any) -> Iterator[Callable[[int], None]]:
    """`advance(rows)` inside the block. `stream` is where a command prints."""
    bar = _bar() if stream.isatty() else None
    if bar is None:
        lines = _Lines(title, total, stream)
        yield lines.advance
        lines.say()
        return
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda rows: bar.advance(task, rows)


def _bar() -> Any:
    try:
        from rich import progress as rich
    except ImportError:
        return None

    class Rate(rich.ProgressColumn):
        def render(self, task: rich.Task) -> str:
            return f"{task.speed or 0:,.0f} rows/s"

    return rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        Rate(),
        rich.TimeRemainingColumn(),
    )


class _Lines:
    def __init__(self, title: str, total: int, stream: Any) -> None:
        self.title, self.total, self.stream = title, total, stream
        self.done = 0
        self.start = self.told = time.monotonic()

    def advance(self, rows: int) -> None:
        self.done += rows
        if time.monotonic() - self.told >= SECONDS:
            self.say()

    def say(self) -> None:
        self.told = time.monotonic()
        rate = self.done / max(self.told - self.start, 0.001)
        left = timedelta(seconds=round(max(self.total - self.done, 0) / rate)) if rate else "unknown"
        self.stream.write(f"{self.title}: {self.done:,} of {self.total:,} rows, {rate:,.0f} rows/s, {left} left\n")
        self.stream.flush()
