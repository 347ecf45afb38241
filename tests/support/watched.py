"""The proxy's process with a clock that a test moves and with its memory open to that test. Everything else is real.

As a program it starts the proxy like `manage.py tsp_serve`, after it handed its memory to the test: the process closes
that to all others a moment later (T-20).
"""

from __future__ import annotations

import mmap
import os
import re
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.feed import FeedServer
from tests.support.proxy import Proxy

_CLOCK, _MEMORY = "CMK_TEST_CLOCK", "CMK_TEST_MEMORY"
_OFFSETS, _Q = struct.Struct("dd"), struct.Struct("Q")
_CHUNK = 1 << 20


class Watched(Proxy):
    """A proxy. `shift` moves its clocks, `copies` looks for bytes in its memory."""

    def __init__(self, folder: Path, feed: FeedServer, **settings: str) -> None:
        self._offsets = [0.0, 0.0]
        self._clock = folder / "clock"
        self._clock.write_bytes(_OFFSETS.pack(0.0, 0.0))
        self._file = os.open(self._clock, os.O_RDWR)
        self._shared = mmap.mmap(self._file, _OFFSETS.size)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(folder / "memory"))
        self._door.listen()
        self._fds: list[int] = []
        seen = {_CLOCK: str(self._clock), _MEMORY: str(folder / "memory")}
        super().__init__(folder, feed, **seen, **settings)

    def start(self, launcher: Sequence[str] = ()) -> None:
        super().start(("-m", __name__, *launcher))
        for fd in self._fds:
            os.close(fd)
        self._door.settimeout(30)
        theirs, _ = self._door.accept()
        with theirs:
            _, self._fds, _, _ = socket.recv_fds(theirs, 1, 2)

    def shift(self, *, boot: float = 0.0, wall: float = 0.0) -> None:
        """So many seconds go by on the one clock, on the other, or on both."""
        self._offsets[0] += boot
        self._offsets[1] += wall
        self._shared[:] = _OFFSETS.pack(*self._offsets)

    def pass_time(self, seconds: float) -> None:
        self.shift(boot=seconds, wall=seconds)

    @property
    def ahead(self) -> float:
        """Seconds by which its boot clock is ahead of this machine's."""
        return self._offsets[0]

    @property
    def wall_ahead(self) -> float:
        """The same of its wall clock."""
        return self._offsets[1]

    def boot(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.ahead

    def copies(self, *secrets: bytes) -> int:
        """How often any of `secrets`, of 15 bytes or more, is in the process's memory."""
        memory, maps = self._fds
        # A chunk is searched for each secret only where one of their aligned words is: many secrets cost what one does.
        words = {word for secret in secrets for at in range(8) for word in _Q.unpack_from(secret, at)}
        found = 0
        for line in _all(maps).decode().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r...", line)
            if match is None or "[v" in line:
                continue
            at, high = (int(edge, 16) for edge in match.groups())
            tail, overlap = b"", max(map(len, secrets)) - 1
            while at < high:
                try:
                    data = os.pread(memory, min(_CHUNK, high - at), at)
                except OSError:
                    break
                if not data:
                    break
                whole = tail + data
                if not words.isdisjoint(memoryview(whole)[: len(whole) // 8 * 8].cast("Q")):
                    found += sum(whole.count(secret) for secret in secrets)
                tail = data[-overlap:]
                at += len(data)
        return found

    def close(self) -> None:
        self.process.stop()
        self._shared.close()
        self._door.close()
        for fd in (self._file, *self._fds):
            os.close(fd)


def _all(fd: int) -> bytes:
    parts, at = [], 0
    while part := os.pread(fd, 65_536, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


class _ShiftedClock:
    """`tsp.clock.SystemClock`, moved by what the test wrote into the shared file."""

    def __init__(self, path: str) -> None:
        from tsp.clock import SystemClock

        self._system = SystemClock()
        with open(path, "rb") as file:
            self._shared = mmap.mmap(file.fileno(), _OFFSETS.size, prot=mmap.PROT_READ)

    def boot(self) -> float:
        return self._system.boot() + float(_OFFSETS.unpack(self._shared[:])[0])

    def wall(self) -> float:
        return self._system.wall() + float(_OFFSETS.unpack(self._shared[:])[1])


def _hand_over() -> None:
    fds = [os.open(f"/proc/self/{name}", os.O_RDONLY) for name in ("mem", "maps")]
    with socket.socket(socket.AF_UNIX) as test:
        test.connect(os.environ[_MEMORY])
        socket.send_fds(test, [b"."], fds)
    for fd in fds:
        os.close(fd)


def _main() -> None:
    import django
    from django.conf import settings

    django.setup()
    from tsp import listen
    from tsp.conf import TspSettings
    from tsp.serve import Process

    _hand_over()
    listen.harden()

    async def run() -> None:
        await Process(TspSettings.of(settings), _ShiftedClock(os.environ[_CLOCK])).run()

    listen.run(run)


if __name__ == "__main__":
    _main()
