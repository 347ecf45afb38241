"""Looking for one row by a blind index, beside an indexed plain column of the same table size.

In a process of its own: Django takes its settings once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from bench.rounds import Table, compare, timed


def tables(quick: bool) -> list[Table]:
    command = [sys.executable, "-m", "bench.search", *(["quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measurement of search failed: {done.stderr[-2000:]}")
    return [Table(**one) for one in json.loads(done.stdout)]


@contextmanager
def _databases() -> Iterator[dict[str, str]]:
    import django
    from django.conf import settings

    from tests.support.postgres import Postgres

    server = Postgres()
    parts = urlsplit(server.database())
    postgres = {
        "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
        "HOST": parts.hostname, "PORT": parts.port,
    }  # fmt: skip
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, "postgres": postgres},
        INSTALLED_APPS=["encrypted_fields", "bench"], SECRET_KEY="bench", USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )  # fmt: skip
    django.setup()
    try:
        yield {"default": "SQLite in memory", "postgres": "PostgreSQL on the loopback, fsync off"}
    finally:
        from django.db import connections

        connections.close_all()
        server.stop()


def _measured(quick: bool) -> list[Table]:
    from encrypted_fields import tenant
    from encrypted_fields.testing import MemoryTsp

    count, rounds, seconds = (1_000, 3, 0.05) if quick else (20_000, 9, 0.3)
    found = []
    with _databases() as names, MemoryTsp(), tenant("a"):
        for alias, name in names.items():
            plain, sealed = _filled(alias, count)
            # each round looks for other rows, the same ones in both tables
            for title, work in _works(alias, count):
                runs = {
                    "plain, indexed": timed(work(plain), seconds),
                    "encrypted, blind index": timed(work(sealed), seconds),
                }
                found.append(compare(f"{count} rows, {name}: {title}", "µs", runs, rounds))
    return found


def _filled(alias: str, count: int) -> tuple[Any, Any]:
    from django.db import connections

    from bench.models import Found, Sought

    for model in (Found, Sought):
        with connections[alias].schema_editor() as editor:
            editor.create_model(model)
        rows = [model(email=_email(number), notes="n") for number in range(count)]
        model.objects.using(alias).bulk_create(rows, batch_size=500)
    with connections[alias].cursor() as cursor:
        cursor.execute("ANALYZE")
    return Found, Sought


def _works(alias: str, count: int) -> list[tuple[str, Callable[[Any], Callable[[], object]]]]:
    def numbers() -> Iterator[str]:
        number = 0
        while True:
            number = (number + 7919) % count
            yield _email(number)

    def got(model: Any) -> Callable[[], object]:
        emails, rows = numbers(), model.objects.using(alias)
        return lambda: rows.get(email=next(emails)).pk

    def exists(model: Any) -> Callable[[], object]:
        emails, rows = numbers(), model.objects.using(alias)
        return lambda: rows.filter(email=next(emails)).exists() or 1 / 0

    def ten(model: Any) -> Callable[[], object]:
        emails, rows = numbers(), model.objects.using(alias)
        return lambda: list(rows.filter(email__in=[next(emails) for _ in range(10)]).values_list("pk"))

    return [("get(email=…)", got), ("filter(email=…).exists()", exists), ("email__in of ten", ten)]


def _email(number: int) -> str:
    return f"person{number:06}@example.org"


if __name__ == "__main__":
    print(json.dumps([vars(table) for table in _measured("quick" in sys.argv)]))
