"""The keys of a batch, one by one: those at hand at once, the others a few at a time, each failure in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import TypeAlias, TypeVar

from encrypted_fields.core.errors import CmkError

PATIENCE = 30.0  # seconds that one key of a batch may wait for its turn at the key service
_AT_ONCE = 8
_TURN = 100  # keys of a batch, then it is other requests' turn
_T = TypeVar("_T")
Found: TypeAlias = _T | CmkError | None


async def each(
    names: Iterable[str], at_hand: Callable[[list[str]], Iterable[Found[_T]]], take: Callable[[str], Awaitable[_T]]
) -> dict[str, _T | CmkError]:
    """For each name, in their order, the key that is at hand, or what `take` gives, a few at a time; or its error.

    `at_hand` is asked for many at once, and has an answer for each: None if it must be taken.
    """
    taken: dict[str, _T | CmkError] = {}
    later = []
    left = iter(names)
    while some := list(islice(left, _TURN)):
        if taken:
            await asyncio.sleep(0)
        for name, held in zip(some, at_hand(some), strict=True):
            if held is None:
                later.append(name)
            taken[name] = held or CmkError()  # holds the place in the order
    waiting = iter(later)

    async def work() -> None:
        for name in waiting:
            try:
                taken[name] = await take(name)
            except CmkError as error:
                taken[name] = error.with_traceback(None)

    if later:
        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return taken
