"""moto's server for tests: a second, independent key service. It goes on decrypting after a key was disabled."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.processes import Process, free_port


class Moto:
    """A running server on the loopback; `url` is its address."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cmk-moto-"))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)}
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self.process = Process(command, self.folder / "log", env=settings, cwd=self.folder)
        self.process.wait_for_port(port, 60)

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
