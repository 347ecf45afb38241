"""Child processes of the demonstration: started with exactly the environment given, stopped by their own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# what a child needs of our own environment to find programs and write text; no setting of the user's shell gets in
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")


class Failed(Exception):
    """A step did not do what it must. The text says what was expected and what came instead."""


class Server:
    """A program that listens on a port of the loopback and writes to a log file."""

    def __init__(self, name: str, command: Sequence[str], port: int, env: Mapping[str, str], log: Path) -> None:
        self.name, self.port, self.log = name, port, log
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C reaches only us, and we stop the children in order
            )

    def wait(self, seconds: float = 40.0) -> None:
        """Returns when the port accepts connections."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.check()
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise Failed(f"{self.name} does not listen on port {self.port} after {seconds:.0f} s\n{self.tail()}")

    def check(self) -> None:
        """Failed if the program has ended."""
        code = self._child.poll()
        if code is not None:
            raise Failed(f"{self.name} ended with exit code {code}\n{self.tail()}")

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"the end of {self.log}:", *lines])

    def stop(self) -> None:
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.wait()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block; they are told then, not lost."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda signum, _: came.append(signum))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for signum in came:
            signal.raise_signal(signum)


def run(command: Sequence[str], env: Mapping[str, str], text: str = "") -> str:
    """Runs a command to its end with `text` on its standard input; its output. Failed unless it exits with 0."""
    done = subprocess.run(
        list(command), cwd=ROOT, env=environment(env), input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"'{' '.join(command[1:])}' ended with exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def environment(env: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **env}


def free_port(wanted: int) -> int:
    """`wanted` if nobody listens there, else any free port."""
    for number in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Failed("there is no free port on this machine")
