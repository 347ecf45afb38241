"""PostgreSQL takes many rows column by column; what cannot travel so is written row by row, with the same result."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from django.db.models import Value
from django.db.models.functions import Lower
from django.db.transaction import atomic, set_rollback
from django.test.utils import CaptureQueriesContext

from encrypted_fields.fields.stored import Stored
from encrypted_fields.testing import MemoryTsp, stored_bytes
from tests.encrypted_fields.matrix.models import SHAPES

Row = SHAPES["uuid"]["text"][1].row
TEXTS = ["", None, "a,b", "-", "ß\x00\ud800", "x" * 5000]


@pytest.fixture
def postgres(matrix_databases: None) -> Iterator[str]:
    with atomic(using="postgres"):
        yield "postgres"
        set_rollback(True, using="postgres")


def read(name: str = "text") -> list[object]:
    return [getattr(row, name) for row in Row.objects.using("postgres").order_by("number")]


def test_a_column_is_one_parameter(cmk_tsp: MemoryTsp, postgres: str) -> None:
    with CaptureQueriesContext(connections[postgres]) as queries:
        Row.objects.using(postgres).bulk_create([Row(text=text, number=n) for n, text in enumerate(TEXTS)])
    (sql,) = [query["sql"] for query in queries if query["sql"].startswith("INSERT")]
    assert "UNNEST(" in sql
    assert "VALUES" not in sql
    assert read() == TEXTS


def test_stored_bytes_go_along(cmk_tsp: MemoryTsp, postgres: str) -> None:
    first = Row.objects.using(postgres).create(text="first")
    sealed = stored_bytes(first, "text")
    assert sealed is not None
    rows = [Row(text=Stored(sealed), number=1), Row(text="second", number=2)]
    with CaptureQueriesContext(connections[postgres]) as queries:
        Row.objects.using(postgres).bulk_create(rows)
    assert "UNNEST(" in queries[0]["sql"]
    assert stored_bytes(Row.objects.using(postgres).get(pk=rows[0].pk), "text") == sealed
    assert Row.objects.using(postgres).get(pk=rows[1].pk).text == "second"


def test_a_row_that_the_database_computes_for_is_written_row_by_row(cmk_tsp: MemoryTsp, postgres: str) -> None:
    rows = [Row(text=text, number=n, label=Lower(Value("ABC"))) for n, text in enumerate(TEXTS)]
    with CaptureQueriesContext(connections[postgres]) as queries:
        Row.objects.using(postgres).bulk_create(rows)
    assert "UNNEST(" not in queries[0]["sql"]
    assert read() == TEXTS
    assert set(read("label")) == {"abc"}


def test_conflicts_are_settled_as_in_other_statements(cmk_tsp: MemoryTsp, postgres: str) -> None:
    rows = [Row(text=f"old {n}", number=n, code=str(n)) for n in range(3)]
    manager = Row.objects.using(postgres)
    manager.bulk_create(rows)
    again = [Row(id=row.id, text="lost", number=10 + n) for n, row in enumerate(rows[:2])]
    manager.bulk_create(again, update_conflicts=True, unique_fields=["id"], update_fields=["number"])
    manager.bulk_create([Row(text="lost", code="0"), Row(text="kept", number=90, code="9")], ignore_conflicts=True)
    assert read() == ["old 2", "old 0", "old 1", "kept"]
