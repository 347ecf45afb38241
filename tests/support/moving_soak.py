"""`encrypt_existing` killed again and again while others write, then `rekey`: what is lost, sealed twice, or in memory.

For the test and for `python -m bench moving`: real PostgreSQL, a real proxy, real processes and SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.support.processes import ROOT
from tests.support.sandbox import Sandbox

TABLE = "sample_app_mover"
COMMAND = [sys.executable, "manage.py", "encrypt_existing", "--model", "sample_app.Mover"]


@dataclass
class Outcome:
    """`lost`: rows whose value is not what was written last. `doubled`: values that hold ciphertext.

    `samples`: of the run that was not killed, (seconds, rows sealed so far, peak of its memory in MiB).
    """

    rows: int
    kills: int = 0
    written: int = 0
    lost: int = 0
    doubled: int = 0
    left: int = 0
    seconds: float = 0.0  # of the runs of the command, all together
    samples: list[tuple[float, int, float]] = field(default_factory=list)

    def peak_at(self, sealed: int) -> float:
        return next((peak for _, done, peak in self.samples if done >= sealed), 0.0)

    @property
    def rate(self) -> float:
        """Rows a second, from the first row that the last run sealed to its end."""
        first = next((one for one in self.samples if one[1] > self.samples[0][1]), self.samples[0])
        last = self.samples[-1]
        return (last[1] - first[1]) / max(last[0] - first[0], 0.001)


class Soak:
    """One table of `rows` values in clear, in a database that is empty."""

    def __init__(self, rows: int, url: str, proxy: Sandbox, writers: int = 2) -> None:
        self.rows, self.url, self.writers = rows, url, writers
        self.env = {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.support.moving_settings",
            "SOAK_TSP_URL": proxy.url,
            "SOAK_TSP_API_KEY": proxy.api_key,
        }
        self._run("-c", "import django; django.setup(); from django.db import connection; "
                  "from tests.sample_app.moving import Mover\n"
                  "with connection.schema_editor() as editor: editor.create_model(Mover)")  # fmt: skip
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                f"INSERT INTO {TABLE} (id, tenant_id, counter, name, born) SELECT "
                "lpad(to_hex(n), 32, '0')::uuid, CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END, 0, 'row ' || n, "
                f"CASE n % 3 WHEN 0 THEN NULL ELSE DATE '1980-01-01' + (n % 9000)::int END "
                f"FROM generate_series(1, {rows}) n".encode()
            )

    def run(self, kills: int) -> Outcome:
        outcome = Outcome(self.rows)
        with self._writing() as said:
            for number in range(kills):
                self._backfill(outcome, until=(number + 1) * self.rows // (5 * kills))
            self._backfill(outcome)
            samples = list(outcome.samples)
        self._backfill(outcome)  # what the code of the deploy before wrote since
        outcome.samples = samples
        self._judge(outcome, said)
        self._said = said
        return outcome

    def rekey(self, kills: int) -> Outcome:
        """After `run`: each key is wrapped anew, and each run but the last is killed when it has changed some."""
        outcome = Outcome(self.rows)
        command = [sys.executable, "manage.py", "rekey", "--every", "--model", "sample_app.Mover"]
        with psycopg.connect(self.url, autocommit=True) as connection:
            for number in range(kills + 1):
                connection.execute(f"DROP TABLE IF EXISTS seen; CREATE TABLE seen AS SELECT * FROM {TABLE}".encode())
                child = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL)
                while number < kills and child.poll() is None:
                    if self._changed(connection) > (number + 1) * self.rows // (2 * kills):
                        child.kill()
                        outcome.kills += 1
                        break
                    time.sleep(0.05)
                child.wait()
            outcome.written = self._changed(connection)
        self._judge(outcome, self._said)
        return outcome

    def _changed(self, connection: Any) -> int:
        sql = f"SELECT count(*) FROM {TABLE} JOIN seen USING (id) WHERE {TABLE}.name_encrypted <> seen.name_encrypted"
        return int(connection.execute(sql.encode()).fetchone()[0])

    def _backfill(self, outcome: Outcome, until: int | None = None) -> None:
        """Until it ends by itself, or until so many rows are sealed: then SIGKILL."""
        start = time.monotonic()
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(COMMAND, cwd=ROOT, env=self.env, stdout=log, stderr=log)
            with psycopg.connect(self.url, autocommit=True) as connection:
                while child.poll() is None:
                    done = self._sealed(connection)
                    peak = _peak(child.pid)
                    if peak and until is None and done < self.rows:
                        outcome.samples.append((time.monotonic() - start, done, peak))
                    if until is not None and done >= until:
                        child.kill()
                        outcome.kills += 1
                        break
                    time.sleep(0.05 if self.rows < 50_000 else 0.5)
            code = child.wait()
            log.seek(0)
            if until is None and code != 0:
                raise RuntimeError(f"encrypt_existing ended with {code}: {log.read()[-2000:].decode()}")
        outcome.seconds += time.monotonic() - start

    def _sealed(self, connection: Any) -> int:
        found = connection.execute(f"SELECT count(*) FROM {TABLE} WHERE name_encrypted IS NOT NULL".encode()).fetchone()
        return int(found[0])

    @contextlib.contextmanager
    def _writing(self) -> Iterator[dict[int, Any]]:
        said: dict[int, Any] = {}
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.moving_writer", str(at), str(self.writers), str(self.rows)],
                cwd=ROOT, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for at in range(self.writers)
        ]  # fmt: skip
        try:
            for child in children:
                assert child.stdout is not None
                assert child.stdout.readline() == "writing\n"
            yield said
            for child in children:
                out, _ = child.communicate(timeout=60)
                said.update({int(row): value for row, value in json.loads(out).items()})
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                child.wait()

    def _judge(self, outcome: Outcome, said: dict[int, Any]) -> None:
        """Reads every row with the code of a later deploy, which knows the ciphertext only."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "said.json"
            file.write_text(json.dumps(said))
            found = json.loads(self._run("-m", "tests.support.moving_judge", str(file), str(self.rows)))
        outcome.written = outcome.written or len(said)
        outcome.lost, outcome.doubled, outcome.left = found["lost"], found["doubled"], found["left"]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return done.stdout


def _peak(pid: int) -> float:
    """MiB at most so far, as Linux tells; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
