"""Saving and loading rows with three encrypted fields beside plain ones, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings

from bench.rounds import Table, clocked, compare
from tests.support.postgres import Postgres
from tests.support.sandbox import sandbox

TEXT = "0123456789abcdef0123456789abcdef"  # 32 characters, as in the published peer measurements


def tables(quick: bool) -> list[Table]:
    count, rounds = (200, 2) if quick else (5_000, 2)
    found = []
    with _databases() as (names, notes), sandbox("a", leased=True) as running:
        settings.CMK_TSP_URL, settings.CMK_TSP_API_KEY = running.url, running.api_key
        for name, vendor in names.items():
            made = _tables(name, vendor, count, rounds)
            for table in made:
                table.notes += notes
            found += made
    return found


@contextmanager
def _databases() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Django configured for both; without PostgreSQL's programs a note says so and SQLite is measured alone."""
    databases: dict[str, Any] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    names, notes, server = {"default": "SQLite in memory"}, [], None
    try:
        server = Postgres()
    except RuntimeError as error:
        notes.append(f"PostgreSQL not measured: {error}")
    else:
        parts = urlsplit(server.database())
        databases["postgres"] = {
            "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
            "HOST": parts.hostname, "PORT": parts.port,
        }  # fmt: skip
        names["postgres"] = "PostgreSQL on the loopback, fsync off"
    settings.configure(
        DATABASES=databases, INSTALLED_APPS=["encrypted_fields", "bench"], SECRET_KEY="bench", USE_TZ=True,
        CMK_REQUESTING_ID="bench", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )  # fmt: skip
    django.setup()
    try:
        yield names, notes
    finally:
        from django.db import connections

        connections.close_all()
        if server:
            server.stop()


def _tables(alias: str, vendor: str, count: int, rounds: int) -> list[Table]:
    from django.db import connections, transaction

    from bench.models import Plain, Sealed
    from encrypted_fields import tenant
    from encrypted_fields.testing import MemoryTsp

    with connections[alias].schema_editor() as editor:
        editor.create_model(Plain)
        editor.create_model(Sealed)
    memory = MemoryTsp()

    def within(proxy: bool, work: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            if not proxy:
                with memory, tenant("a"):
                    return work()
            with tenant("a"):
                return work()

        return run

    def made(model: Any) -> list[Any]:
        return [model(name=TEXT, born=TEXT, notes=f"{TEXT[:24]}{number:08}") for number in range(count)]

    def save(model: Any) -> None:
        with transaction.atomic(using=alias):
            for row in made(model):
                row.save(using=alias, force_insert=True)

    def bulk(model: Any) -> None:
        with transaction.atomic(using=alias):
            model.objects.using(alias).bulk_create(made(model), batch_size=500)

    def read(model: Any) -> None:
        found = 0
        for row in model.objects.using(alias).all():
            found += len(row.name) + len(row.born) + len(row.notes)
        if found != 96 * count:
            raise RuntimeError("the rows were not read back")

    def columns(model: Any) -> None:
        found = model.objects.using(alias).values_list("name", "born", "notes")
        if sum(len(part) for row in found for part in row) != 96 * count:
            raise RuntimeError("the rows were not read back")

    def emptied(work: Callable[[Any], None], model: Any, proxy: bool) -> Callable[[], float]:
        def run() -> float:
            model.objects.using(alias).all().delete()
            return clocked(within(proxy, lambda: work(model)))()

        return run

    def filled(work: Callable[[Any], None], model: Any, proxy: bool) -> Callable[[], float]:
        def run() -> float:
            model.objects.using(alias).all().delete()
            within(proxy, lambda: bulk(model))()
            return clocked(within(proxy, lambda: work(model)))()

        return run

    works: list[tuple[str, Any, Any]] = [
        ("save() one by one, one transaction", save, emptied),
        ("bulk_create, 500 a statement", bulk, emptied),
        ("load all and read the three fields", read, filled),
        ("values_list of the three fields", columns, filled),
    ]
    found = []
    for title, work, prepared in works:
        runs = {
            "plain TextField": prepared(work, Plain, False),
            "encrypted, proxy in memory": prepared(work, Sealed, False),
            "encrypted, leased proxy over HTTP": prepared(work, Sealed, True),
        }
        found.append(compare(f"{count} rows × 3 fields, {vendor}: {title}", "ms", runs, rounds))
    return found
