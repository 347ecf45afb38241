"""The stage of the demonstration: its folder, its secrets, its running programs, and the tenants' log servers."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.demo.processes import Failed, Server, free_port, uninterrupted
from examples.demo.siem import Siem


class Stage:
    """Everything that runs, in `folder`, which is emptied first. Secrets lie in files, each told to its role only.

    Failed if `folder` holds anything that is not ours, or another demonstration runs in it.
    """

    def __init__(self, folder: Path, *, any_port: bool = False) -> None:
        self.folder = folder.resolve()
        self._lock = _claimed(self.folder)
        for name in ("tenants", "secrets", "logs"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o700)
        self._any_port = any_port
        self.siem = Siem(self.port(8088))
        self.siem.start()
        self._servers: list[Server] = []

    def port(self, wanted: int) -> int:
        """`wanted`, or any free port if it is taken or nobody needs to know it beforehand."""
        return free_port(0 if self._any_port else wanted)

    def serve(self, name: str, command: Sequence[str], number: int, env: Mapping[str, str]) -> None:
        """Starts a program and returns when it listens; with number 0, one that listens nowhere."""
        with uninterrupted():  # a program that was started must be in the list of those to stop
            server = Server(name, command, number, env, self.folder / "logs" / f"{name}.log")
            self._servers.append(server)
        if number:
            server.wait()

    def check(self) -> None:
        """Failed if a program has ended."""
        for server in self._servers:
            server.check()

    def tails(self) -> str:
        """The end of every log."""
        return "\n".join(server.tail() for server in self._servers)

    def secret(self, name: str, value: str) -> str:
        """The path of a secret's file, made when it is first asked for."""
        file = self.folder / "secrets" / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(value)
        return str(file)

    def key_file(self, tenant: str) -> Path:
        """The tenant's own key: on this machine only because this is a demonstration."""
        return self.folder / "tenants" / f"{tenant}.key"

    def stop(self) -> None:
        """Stops every program, the last one started first."""
        for server in reversed(self._servers):
            server.stop()
        self.siem.stop()
        os.close(self._lock)


def _claimed(folder: Path) -> int:
    """Empties our own folder and holds a lock in it (a file descriptor) for as long as we run."""
    mark = folder / ".demo"
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        raise Failed(f"{folder} holds files that are not of a demonstration: name another folder with --state")
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(mark, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Failed(f"another demonstration runs in {folder}: stop it, or name another folder with --state") from None
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != mark:
            path.unlink()
    return lock
