"""One attempt at a time for each place: a thousand who ask for the same share one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class OneAtATime(Generic[K, R]):
    """Whoever comes while an attempt is under way waits for that one and gets what it gives or raises. An attempt goes
    on when those who wait have left."""

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[R]] = {}

    async def __call__(self, place: K, attempt: Callable[[], Coroutine[Any, Any, R]]) -> R:
        task = self._running.get(place)
        if task is None:
            task = self._running[place] = asyncio.ensure_future(attempt())
            task.add_done_callback(lambda done: (self._running.pop(place, None), done.cancelled() or done.exception()))
        await asyncio.wait({task})
        error = task.exception()
        if error is not None:
            raise error.with_traceback(None)  # shared by all who waited: each would add its own frames to it
        return task.result()
