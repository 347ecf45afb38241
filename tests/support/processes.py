"""Real servers for tests: in a private folder, on a free port of the loopback, stopped by their own process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def need(program: str, package: str, *folders: Path) -> str:
    """The path of a program; an error that says what to install: a missing server is never a skip."""
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)]))
    if not found:
        raise RuntimeError(
            f"the tests need '{program}': install the package {package} (as root on Debian, `make test` does)"
        )
    return found


class Process:
    """A child process with its output in a file; `stop` ends it (and only it) by its id."""

    def __init__(
        self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.log = log
        self._out: IO[bytes] = log.open("ab")
        self.child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.child.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_port(self, port: int, seconds: float = 30.0) -> None:
        """Returns when 127.0.0.1:`port` accepts; an error with the end of its output if that never happens."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.child.poll() is not None:
                raise RuntimeError(f"exited with {self.child.returncode} before it listened: {self.output()[-2000:]}")
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"did not listen on port {port} within {seconds:.0f} s: {self.output()[-2000:]}")

    def wait_for_line(self, part: str, seconds: float = 30.0) -> str:
        """The first line of output that holds `part`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.output().splitlines():
                if part in line:
                    return line
            if self.child.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"never printed {part!r}: {self.output()[-2000:]}")

    def stop(self, seconds: float = 10.0) -> int:
        """Asks with SIGTERM, ends with SIGKILL after `seconds`; the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
        code = self.child.wait()
        self._out.close()
        return code
