"""What ends on an encrypted column as it ends on a plain one: the list of operations.

An operation takes the models of one side and works on the column `f` with three values of its type; what it returns
(or the kind of error that it raises) is compared. `m.new(…)` makes a row of the database at hand. The operations are in
`writes.py`, `reads.py` and `kinds.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SAME: dict[str, Callable[..., Any]] = {}
READING: set[str] = set()


def same(operation: Callable[..., Any]) -> Callable[..., Any]:
    SAME[operation.__name__] = operation
    return operation


def reading(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Also marked so: what it writes is only there to be read."""
    READING.add(operation.__name__)
    return operation
