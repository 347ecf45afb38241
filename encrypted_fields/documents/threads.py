"""The asynchronous twins: the blocking function in a thread, with the caller's context variables."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

P = ParamSpec("P")
R = TypeVar("R")


def in_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`function` as a coroutine function. Not thread-sensitive: documents touch no database connection."""
    run = sync_to_async(function, thread_sensitive=False)

    @wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        return await run(*args, **kwargs)

    return twin
