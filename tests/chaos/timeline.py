"""What happened in time, sorted once, so that a question about one moment is one bisection."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from tests.chaos.evidence import Disturbed, Shift
from tests.support.aws_kms import NO, Asked


class Proofs:
    """The successful calls that opened, or made, one wrapped key."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        """`asked` in the order of `came`."""
        self._came = [one.came for one in asked]
        self._answered = list(accumulate((one.answered for one in asked), max))

    def newest(self, until: float) -> float | None:
        """When the last one came that came by `until`."""
        at = bisect_right(self._came, until)
        return self._came[at - 1] if at else None

    def answered(self, until: float) -> float | None:
        """The latest answer to those that came by `until`."""
        at = bisect_right(self._came, until)
        return self._answered[at - 1] if at else None


class Words:
    """What a key service said about one key: yes, no, or nothing that counts."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        """`asked` in the order of `came`."""
        self._came = [one.came for one in asked]
        self._first_no: list[float | None] = []
        last_yes, first_no = 0.0, None
        for one in asked:
            if one.fine:
                last_yes, first_no = one.came, None
            elif one.mode in NO and one.came > last_yes:
                first_no = one.answered if first_no is None else min(first_no, one.answered)
            self._first_no.append(first_no)

    def first_no(self, until: float) -> float | None:
        """The first no after the last yes, of all that came by `until`: when it was answered. None if the last word was
        yes.
        """
        at = bisect_right(self._came, until)
        return self._first_no[at - 1] if at else None


class Spans:
    """When one thing was disturbed."""

    def __init__(self, disturbed: Iterable[Disturbed]) -> None:
        found = sorted(disturbed, key=lambda one: one.began)
        self._began = [one.began for one in found]
        self._ended = list(accumulate((one.ended for one in found), max))

    def touch(self, low: float, high: float) -> bool:
        """Whether some of it was between `low` and `high`."""
        at = bisect_left(self._began, high)
        return at > 0 and self._ended[at - 1] > low


class Jumps:
    """How far one clock was moved."""

    def __init__(self, shifts: Iterable[Shift]) -> None:
        found = sorted(shifts, key=lambda one: one.at)
        self._at = [one.at for one in found]
        self._sums = [0.0, *accumulate(one.boot for one in found)]

    def between(self, low: float, high: float) -> float:
        """Seconds by which it was moved after `low` and before `high`."""
        first, last = bisect_right(self._at, low), bisect_left(self._at, high)
        return self._sums[last] - self._sums[first] if last > first else 0.0
