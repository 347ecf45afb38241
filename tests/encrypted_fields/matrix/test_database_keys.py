"""`bind_row=True` where the database makes the key: bound from the first moment that anybody can see the row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connections
from django.db.transaction import atomic, set_rollback
from django.test.utils import CaptureQueriesContext

from encrypted_fields import NoTenant
from encrypted_fields.core import envelope
from encrypted_fields.core.errors import InvalidCiphertext, KmsRefused
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.encrypted_fields.matrix.conftest import DATABASES
from tests.encrypted_fields.matrix.models import SHAPES

Row = SHAPES["bound"]["text"][1].row


@pytest.fixture(params=DATABASES)
def db(request: pytest.FixtureRequest, matrix_databases: None) -> Iterator[str]:
    with atomic(using=request.param):
        yield request.param
        set_rollback(True, using=request.param)


def rows(db: str) -> Any:
    return Row.objects.using(db)


def written(queries: CaptureQueriesContext) -> list[str]:
    verbs = [query["sql"].split()[0] for query in queries]
    return [verb for verb in verbs if verb not in ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")]


def test_a_value_is_bound_to_the_key_that_its_row_got(cmk_tsp: MemoryTsp, db: str) -> None:
    one, other = (rows(db).create(text=text, char="c") for text in ("a", "b"))
    stored = [stored_bytes(row, "text") or b"" for row in (one, other)]
    assert all(envelope.parse(value).row_bound for value in stored)
    connection = connections[db]
    table = connection.ops.quote_name(Row._meta.db_table)
    column = connection.ops.quote_name("text")
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [stored[0], other.pk])
    assert rows(db).get(pk=one.pk).text == "a"
    with pytest.raises(InvalidCiphertext):
        rows(db).get(pk=other.pk).text  # noqa: B018


def test_what_it_costs(cmk_tsp: MemoryTsp, db: str) -> None:
    """PostgreSQL: the keys of a statement in one query. Elsewhere: one UPDATE. Everywhere one call to the proxy."""
    extra = ["SELECT", "INSERT"] if db == "postgres" else ["INSERT", "UPDATE"]
    with CaptureQueriesContext(connections[db]) as queries, counted(cmk_tsp) as calls:
        rows(db).create(text="a", char="b")
    assert (written(queries), len(calls)) == (extra, 1)
    with CaptureQueriesContext(connections[db]) as queries, counted(cmk_tsp) as calls:
        made = rows(db).bulk_create([Row(text=f"t{n}", number=n) for n in range(20)])
    assert (written(queries), [(call.route, call.count) for call in calls]) == (extra, [("batch_wrap", 20)])
    assert [row.text for row in rows(db).order_by("number").exclude(text=None)[1:]][-3:] == ["t17", "t18", "t19"]
    assert [rows(db).get(pk=row.pk).text for row in made[:3]] == ["t0", "t1", "t2"]
    with CaptureQueriesContext(connections[db]) as queries:
        rows(db).create(number=3)  # nothing to bind
    assert written(queries)[-1] == "INSERT"


def test_many_rows_keep_their_own_values(cmk_tsp: MemoryTsp, db: str) -> None:
    count = 300
    rows(db).bulk_create([Row(text=f"t{n}", number=n, email="x@y.z" if n % 2 else None) for n in range(count)])
    found = list(rows(db).order_by("number"))
    assert [row.text for row in found] == [f"t{n}" for n in range(count)]
    assert [row.email for row in found[:3]] == [None, "x@y.z", None]


def test_an_update_takes_as_many_rows_as_the_database_takes_parameters(
    cmk_tsp: MemoryTsp, matrix_databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(connections["mariadb"].features), "max_query_params", 10)  # three rows of one value
    with atomic(using="mariadb"):
        with CaptureQueriesContext(connections["mariadb"]) as queries:
            rows("mariadb").bulk_create([Row(text=f"t{n}", number=n) for n in range(7)])
        assert written(queries) == ["INSERT", "UPDATE", "UPDATE", "UPDATE"]
        assert [row.text for row in rows("mariadb").order_by("number")] == [f"t{n}" for n in range(7)]
        set_rollback(True, using="mariadb")


@pytest.mark.parametrize("many", [False, True])
def test_a_refusal_leaves_neither_row_nor_key_behind(cmk_tsp: MemoryTsp, db: str, many: bool) -> None:
    cmk_tsp.revoke("north")
    one = Row(text="a")
    with pytest.raises(KmsRefused), atomic(using=db):
        rows(db).bulk_create([one]) if many else one.save(using=db)
    assert one.pk is None
    assert not rows(db).exists()
    one.tenant_id = ""
    with pytest.raises(NoTenant), atomic(using=db):
        one.save(using=db)
    assert one.pk is None
    cmk_tsp.restore("north")
    one.tenant_id = "north"
    one.save(using=db)
    assert rows(db).get(pk=one.pk).text == "a"


def test_a_conflict_leaves_no_key_behind(cmk_tsp: MemoryTsp, db: str) -> None:
    rows(db).create(text="a", code="x")
    one = Row(text="b", code="x")
    with pytest.raises(IntegrityError), atomic(using=db):
        one.save(using=db)
    assert one.pk is None
    if db == "postgres":
        rows(db).bulk_create([one, Row(text="c", code="y")], ignore_conflicts=True)
        assert {row.text for row in rows(db).all()} == {"a", "c"}
        assert one.pk is None  # nobody knows whether the row is there, as without encryption
    else:
        with pytest.raises(ValueError, match="Give the rows primary keys"), atomic(using=db):
            rows(db).bulk_create([one], ignore_conflicts=True)
    rows(db).bulk_create([Row(pk=99, text="d", code="x")], ignore_conflicts=True)
    assert not rows(db).filter(pk=99).exists()


def test_keys_that_are_given_are_kept(cmk_tsp: MemoryTsp, db: str) -> None:
    rows(db).bulk_create([Row(pk=7, text="a"), Row(text="b", number=1)])
    assert rows(db).get(pk=7).text == "a"
    assert rows(db).get(number=1).text == "b"


def test_a_database_that_tells_the_last_key_only(
    cmk_tsp: MemoryTsp, matrix_databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL has no RETURNING: the rows go one by one, in one transaction."""
    features = type(connections["mariadb"].features)
    for name in ("can_return_columns_from_insert", "can_return_rows_from_bulk_insert"):
        monkeypatch.setattr(features, name, False)
    with atomic(using="mariadb"):
        rows("mariadb").create(text="one")
        rows("mariadb").bulk_create([Row(text=f"t{n}", number=n) for n in range(1, 5)])
        assert [row.text for row in rows("mariadb").order_by("number")] == ["one", "t1", "t2", "t3", "t4"]
        set_rollback(True, using="mariadb")


def test_an_insert_that_cannot_be_bound_is_undone(cmk_tsp: MemoryTsp, matrix_databases: None) -> None:
    """Outside of any transaction as well: the INSERT and the UPDATE are one."""
    cmk_tsp.revoke("north")
    with CaptureQueriesContext(connections["mariadb"]) as queries, pytest.raises(KmsRefused):
        rows("mariadb").create(text="a")
    assert "INSERT" in written(queries)
    assert not rows("mariadb").exists()
