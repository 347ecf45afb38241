"""Killed with SIGKILL while others give rows other files, `encrypt_existing` and `rekey` lose no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.sample_app.parcels import TABLE
from tests.support.processes import ROOT
from tests.support.sandbox import sandbox

ROWS, KILLS = 300, 3
SEALED = f"SELECT count(*) FROM {TABLE} WHERE slip_encrypted IS NOT NULL AND coalesce(slip, '') = ''"


class Soak:
    def __init__(self, url: str, media: Path, proxy: Any) -> None:
        self.url = url
        self.env = {
            **os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.support.moving_settings",
            "SOAK_TSP_URL": proxy.url, "SOAK_TSP_API_KEY": proxy.api_key, "SOAK_MEDIA": str(media),
        }  # fmt: skip
        self.run("-c", "import django; django.setup(); from django.db import connection; "
                 "from tests.sample_app.parcels import Parcel\n"
                 "with connection.schema_editor() as editor: editor.create_model(Parcel)")  # fmt: skip
        (media / "slips").mkdir()
        with psycopg.connect(url, autocommit=True) as connection:
            for n in range(ROWS):
                (media / "slips" / f"{n}.txt").write_text(f"row {n}")
            connection.execute(
                f"INSERT INTO {TABLE} (id, tenant_id, note, slip) SELECT lpad(to_hex(n + 1), 32, '0')::uuid, "
                f"CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END, '', 'slips/' || n || '.txt' "
                f"FROM generate_series(0, {ROWS - 1}) n".encode()
            )

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def killed(self, sql: str, until: int, *command: str) -> bool:
        """The command, until `sql` counts so many rows: then SIGKILL. Whether it came to that."""
        child = subprocess.Popen([sys.executable, "manage.py", *command], cwd=ROOT, env=self.env)
        with psycopg.connect(self.url, autocommit=True) as connection:
            while child.poll() is None:
                row: Any = connection.execute(sql.encode()).fetchone()
                if row[0] >= until:
                    child.kill()
                    child.wait()
                    return True
                time.sleep(0.02)
        return False

    @contextmanager
    def writing(self, said: dict[int, str]) -> Iterator[None]:
        command = [sys.executable, "-m", "tests.support.parcel_writer", str(ROWS)]
        child = subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "writing\n"
            yield
            out, _ = child.communicate(timeout=60)
            assert child.returncode == 0
            said.update({int(row): text for row, text in json.loads(out).items()})
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()

    def read(self) -> dict[int, str]:
        return {int(row): text for row, text in json.loads(self.run("-m", "tests.support.parcel_judge")).items()}


def test_loses_no_file_when_it_is_killed_under_a_writer(postgres_url: str, tmp_path: Path) -> None:
    command = ("encrypt_existing", "--model", "sample_app.Parcel")
    rekey = ("rekey", "--every", "--model", "sample_app.Parcel")
    said: dict[int, str] = {}
    with sandbox("a", "b", leased=True) as proxy:
        soak = Soak(postgres_url, tmp_path, proxy)
        with soak.writing(said):
            kills = sum(soak.killed(SEALED, (n + 1) * ROWS // 5, *command) for n in range(KILLS))
            soak.run("manage.py", *command)
            before = f"CREATE TABLE seen AS SELECT id, slip_encrypted AS was FROM {TABLE}"
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(before.encode())
            changed = f"SELECT count(*) FROM {TABLE} JOIN seen USING (id) WHERE slip_encrypted <> was"
            kills += soak.killed(changed, ROWS // 2, *rekey)
        soak.run("manage.py", *rekey)
        soak.run("manage.py", *command)  # what the code of the deploy before stored since
        found = soak.read()
    assert kills == KILLS + 1
    assert len(said) > 20  # there was a writer
    assert found == {n: said.get(n, f"row {n}") for n in range(ROWS)}
    plain = [path for path in (tmp_path / "slips").iterdir() if path.read_bytes().startswith(b"row ")]
    assert plain == []  # none of those from before is left
