"""A real PostgreSQL for tests: own cluster in a temporary folder, never run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg

from tests.support.processes import Process, free_port, need

USER = "cmk"
_SPEED = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_connections=60")


class Postgres:
    """A running server; `database()` makes a fresh, empty database and returns its address."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cmk-pg-"))
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self._initdb = need("initdb", "postgresql", *binaries)
        postgres = need("postgres", "postgresql", *binaries)
        self._as: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._as = [need("setpriv", "util-linux"), "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(self.folder, "postgres", "postgres")
        data = str(self.folder / "data")
        init = [
            *self._as,
            self._initdb,
            "-D",
            data,
            "-U",
            USER,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]
        done = subprocess.run(init, capture_output=True, text=True, cwd=self.folder, check=False)
        if done.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")
        self.port = free_port()
        where = ("-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-k", str(self.folder))
        self.process = Process([*self._as, postgres, "-D", data, *where, *_SPEED], self.folder / "log", cwd=self.folder)
        # its port is open a moment before it lets anybody in
        self.process.wait_for_line("ready to accept connections")

    def database(self) -> str:
        name = "t" + uuid.uuid4().hex[:12]
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._address(name)

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _address(self, name: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"
