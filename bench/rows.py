"""Rows with three text fields of 32 characters, encrypted, beside plain ones and beside other packages (contender.py).

Every contender is a process of its own that keeps its connection and its table; in each round all do the same work, in
shuffled order, and a ratio is to the plain fields of the same round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.contender import EDEK, PEERS, STORED
from bench.rounds import Table, compare
from tests.support.postgres import Postgres
from tests.support.sandbox import sandbox

PROGRAM = Path(__file__).with_name("contender.py")
METHOD = (
    f"keys in hand: the proxy is a dictionary, an EDEK {EDEK} bytes, a stored value {STORED}; one DEK a row, if not "
    "said; UUID primary keys; each contender in a process of its own"
)


def tables(quick: bool) -> list[Table]:
    count, rounds = (500, 2) if quick else (5_000, 7)
    with ExitStack() as stack:
        database, where = stack.enter_context(_database())
        running = stack.enter_context(sandbox("a", leased=True))
        env = {**os.environ, "DATABASE": json.dumps(database), "COUNT": str(count),
               "CMK_TSP_URL": running.url, "CMK_TSP_API_KEY": running.api_key}  # fmt: skip
        names = [
            "plain",
            "encrypted",
            "shared",
            "binary",
            "leased",
            *(PEERS if (Path(sys.prefix) / "peers").is_dir() else ()),
        ]
        workers = {name: stack.enter_context(_Worker(name, env)) for name in names}

        def table(title: str, work: str, some: Sequence[str], times: int = rounds) -> Table:
            runs: dict[str, Callable[[], float]] = {
                _TITLES.get(name, name): (lambda worker=workers[name]: worker.run(work)[0])
                for name in some  # type: ignore[misc]
            }
            found = compare(f"{count} rows × 3 fields, {where}: {title}", "ms", runs, times)
            found.notes.append(METHOD)
            return found

        everybody = [name for name in names if name not in ("binary", "leased")]
        apart = [name for name in everybody if name != "shared"]
        few = max(1, count // 5)
        return [
            table("load all and read the three fields", "read", everybody),
            table("load all and read none", "load", ["plain", "encrypted", "binary"]),
            table("values_list of the three fields", "values", everybody),
            table("bulk_create, 500 a statement", "bulk", everybody, max(2, rounds // 2)),
            table(f"save() of {few}, one transaction", "save", apart, max(2, rounds // 2)),
            table(f"bulk_update of one field of {few}", "update", ["plain", "encrypted"], max(2, rounds // 2)),
            _leased(workers["leased"], count, where, max(2, rounds // 2)),
        ]


_TITLES = {
    "plain": "plain TextField",
    "encrypted": "EncryptedField, keys in hand",
    "shared": "the same, 500 rows a key",
    "binary": f"BinaryField of {STORED} bytes",
}


def _leased(worker: _Worker, count: int, where: str, rounds: int) -> Table:
    calls: set[int] = set()

    def read() -> float:
        spent, made = worker.run("read")
        calls.add(made)
        return spent

    runs = {"the batch calls alone": lambda: worker.run("batches")[0], "load all and read the three fields": read}
    found = compare(f"{count} rows × 3 fields, {where}: a leased proxy over HTTP on this machine", "ms", runs, rounds)
    found.notes.append(f"calls of the proxy: {', '.join(map(str, sorted(calls)))}")
    return found


class _Worker:
    """One contender's process."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), name], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._line()

    def run(self, work: str) -> tuple[float, int]:
        assert self._process.stdin is not None
        print(work, file=self._process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._line())
        return found["ms"], found["calls"]

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended: its error is above")
        return line

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def _database() -> Iterator[tuple[dict[str, Any], str]]:
    """PostgreSQL; without its programs SQLite in a file."""
    try:
        server = Postgres()
    except RuntimeError:
        with tempfile.TemporaryDirectory() as folder:
            yield {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/rows.sqlite3"}, "SQLite (no PostgreSQL)"
        return
    parts = urlsplit(server.database())
    try:
        yield {
            "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
            "HOST": parts.hostname, "PORT": parts.port,
        }, "PostgreSQL on the loopback, fsync off"  # fmt: skip
    finally:
        server.stop()
