"""A real MariaDB for tests: own data folder, loopback only, stopped by its own process id."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pymysql

from tests.support.processes import Process, free_port, need

pymysql.install_as_MySQLdb()  # Django imports MySQLdb; PyMySQL answers to that name

_SPEED = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=32M",
    "--skip-log-bin",
    "--skip-name-resolve",
)


class MariaDb:
    """A running server; `database()` makes a fresh, empty database and returns Django's settings for it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cmk-maria-"))
        folders = [Path("/usr/sbin"), Path("/usr/local/sbin")]
        install = need("mariadb-install-db", "mariadb-server", *folders)
        server = need("mariadbd", "mariadb-server", *folders)
        data = self.folder / "data"
        user = ["--user=root"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [
                install,
                "--no-defaults",
                *user,
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise RuntimeError(f"mariadb-install-db failed: {(done.stdout + done.stderr)[-2000:]}")
        self.port = free_port()
        where = (
            f"--datadir={data}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.folder / 's'}",
            f"--pid-file={self.folder / 'pid'}",
        )
        self.process = Process([server, "--no-defaults", *user, *where, *_SPEED], self.folder / "log", cwd=self.folder)
        self.process.wait_for_port(self.port)

    def database(self) -> dict[str, Any]:
        name = "t" + uuid.uuid4().hex[:12]
        with (
            pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": name,
            "USER": "root",
            "PASSWORD": "",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "OPTIONS": {"charset": "utf8mb4"},
        }

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
