"""A real Redis for tests, as the audit stream wants it: each write on disk before the reply, nothing evicted."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.support.processes import Process, free_port, need

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", "")


class Redis:
    """A running server at `url`; `options` replace the durable ones. `kill` and `start` keep folder and port."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cmk-redis-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options or DURABLE
        self.start()

    def start(self) -> None:
        """Returns when it has loaded its file and answers."""
        program = need("redis-server", "redis-server")
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        self.process = Process([program, *where, *self._options], self.folder / "log", cwd=self.folder)
        self.process.wait_for_port(self.port)

    def kill(self) -> None:
        """As if the power went off, but for what the kernel had already taken."""
        self.process.child.kill()
        self.process.stop()

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
