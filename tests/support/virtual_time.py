"""An event loop whose time jumps to the next thing that is due: an hour of waiting takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import Any, TypeVar

Result = TypeVar("Result")
EPOCH = 1_800_000_000.0

takes: ContextVar[float] = ContextVar("takes", default=0.0)  # set by work in a "thread": when its reply arrives


class _Jump(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Instead of waiting, moves the loop's time."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for something that is not going to happen")
        self.loop.now += max(timeout, 0.0)
        found: list[Any] = super().select(0)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """`now` is CLOCK_MONOTONIC. Work for threads is done at once; its outcome arrives after `takes` seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0
        jump = _Jump()
        jump.loop = self
        super().__init__(jump)

    def time(self) -> float:
        return self.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Result], *args: Any
    ) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = self.create_future()
        token = takes.set(0.0)
        outcome: tuple[Callable[[Any], None], Any]
        try:
            outcome = future.set_result, func(*args)
        except Exception as error:
            outcome = future.set_exception, error
        self.call_later(takes.get(), lambda: future.done() or outcome[0](outcome[1]))
        takes.reset(token)
        return future

    def spend(self, seconds: float) -> None:
        """Let `seconds` pass, and do all that is due meanwhile."""
        self.run_until_complete(asyncio.sleep(seconds))

    def end(self) -> None:
        """Cancel what still runs and close."""

        async def cancel() -> None:
            running = asyncio.all_tasks() - {asyncio.current_task()}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        self.run_until_complete(cancel())
        self.close()


class Machine:
    """The clocks of one computer (`tsp.clock.Clock`). `slept`: seconds in suspend (CLOCK_MONOTONIC stands still)."""

    def __init__(self, loop: VirtualLoop, base: float = 0.0) -> None:
        self._loop = loop
        self._base = base  # when it was switched on
        self.slept = 0.0
        self.offset = 0.0  # how far its wall clock is off

    def boot(self) -> float:
        return self._loop.now + self._base + self.slept

    def wall(self) -> float:
        return EPOCH + self._loop.now + self.slept + self.offset
