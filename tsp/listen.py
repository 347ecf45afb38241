"""Serving ASGI applications on a set of ports in one event loop, and stopping them gently."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

DRAIN_SECONDS = 20
SERVER: dict[str, Any] = {
    "loop": "none", "http": "httptools", "ws": "none", "lifespan": "off", "access_log": False, "log_config": None,
    "log_level": "warning", "server_header": False, "date_header": False, "proxy_headers": False,
    "timeout_keep_alive": 75, "timeout_graceful_shutdown": DRAIN_SECONDS,
}  # fmt: skip
_PR_SET_DUMPABLE = 4
_SWITCH = 0.001  # seconds that a thread may wait for the interpreter while another computes; Python's own is 5 ms
_GARBAGE = 20_000  # objects more than before until the youngest are looked through; Python's own is 700
_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Leaves signals alone: the process has several servers, and one place that stops them in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """One application on one port, bound at once, so that a taken port is an error before anything starts."""

    def __init__(self, app: Any, host: str, port: int) -> None:
        # Bound, not listening yet: nobody is let in before `start`.
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.port: int = self.socket.getsockname()[1]
        self._server = _Server(uvicorn.Config(app, **SERVER))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it accepts."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self.socket]))
        while not self._server.started:
            if self._task.done():
                await self._task
                raise RuntimeError("the server ended before it started")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Takes no new connections, lets requests end, and returns when they have (or after 20 seconds)."""
        self._server.should_exit = True  # it looks every 100 ms
        if self._task is not None:
            await self._task
        self.socket.close()


def run(main: Callable[[], Any]) -> None:
    """Run the coroutine function `main` on uvloop."""
    import uvloop

    sys.setswitchinterval(_SWITCH)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def settle() -> None:
    """Leave what the start has made out of the garbage collector's rounds: a full one takes some 100 ms with it.

    Requests leave hardly any cycles behind, and each makes some dozens of objects, so rounds may be rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)


async def stopped() -> None:
    """Until SIGTERM or SIGINT."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


def harden() -> None:
    """No core dumps, and no other process of this user may look into this one's memory (T-20)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("the process could not be made undumpable")
