"""What a pass over a table found and did, and how it asks the proxy: with patience when it is told to try again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from encrypted_fields.core.errors import CmkError

_T = TypeVar("_T")
_SHOWN = 10
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds

_sleep = time.sleep


@dataclass
class Tally:
    """Counts of values. `left`: why values stayed as they were, each reason with the keys of the first rows."""

    found: int = 0
    written: int = 0
    overtaken: int = 0  # changed by somebody else between our reading and writing; the next pass takes them
    calls: int = 0
    left: Counter[str] = field(default_factory=Counter)
    rows: dict[str, list[str]] = field(default_factory=dict)
    cleared: int = 0  # files of killed runs that were removed
    strays: list[str] = field(default_factory=list)  # such files, or another run's, that were let be

    def leave(self, reason: str, pk: object, count: int = 1) -> None:
        self.left[reason] += count
        shown = self.rows.setdefault(reason, [])
        if len(shown) < _SHOWN:
            shown.append(str(pk))

    def stray(self, name: str) -> None:
        if name not in self.strays:
            self.strays.append(name)

    def swapped(self, asked: int, done: int) -> None:
        self.written += done
        self.overtaken += asked - done

    def follow(self, later: Tally) -> None:
        """Add the pass that came after: what it left and was overtaken at is what is left now."""
        self.found, self.left, self.rows = max(self.found, later.found), later.left, later.rows
        self.written += later.written
        self.calls += later.calls
        self.overtaken = later.overtaken
        self.cleared += later.cleared
        for name in later.strays:
            self.stray(name)

    def as_dict(self) -> dict[str, Any]:
        return {
            "found": self.found,
            "written": self.written,
            "overtaken": self.overtaken,
            "calls": self.calls,
            "left": dict(self.left),
            "rows": self.rows,
            "cleared": self.cleared,
            "strays": self.strays,
        }


def patiently(ask: Callable[[], _T]) -> _T:
    """The answer; tried again for about 15 seconds while the proxy says that this may help. Then its error."""
    for pause in _PAUSES:
        try:
            return ask()
        except CmkError as error:
            if not error.retryable:
                raise
        _sleep(pause)
    return ask()
