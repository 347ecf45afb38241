"""`bind_row=True` where the database makes the key: values are sealed for a row whose key is not known yet.

PostgreSQL gives the numbers of its sequence beforehand, all of a statement in one query. Elsewhere the rows are
inserted with nothing in those columns and filled in by an UPDATE of the same transaction: what nobody could open is
never seen from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import models
from django.db.models.expressions import DatabaseDefault
from django.db.transaction import atomic

from encrypted_fields.fields.writing import Pending, is_encrypted, needs_key

_LATER = object()


def keyless(compiler: Any) -> list[models.Model]:
    """The rows of the statement without a key, if a value of theirs shall be bound to it."""
    query = compiler.query
    if not any(is_encrypted(field) and field.binding.binds_row for field in query.fields):
        return []
    pk = query.get_meta().pk
    return [one for one in query.objs if isinstance(one.__dict__.get(pk.attname), DatabaseDefault | None)]


def insert(compiler: Any, returning: Any, execute: Callable[..., Any]) -> Any:
    """As `execute(compiler, returning)`, with bound values. A failure leaves the instances as they were."""
    rows, pk = keyless(compiler), compiler.query.get_meta().pk
    before = [one.__dict__.get(pk.attname) for one in rows]
    try:
        if _fetch_keys(compiler, rows, pk):
            found = execute(compiler, returning)
            done = compiler.query.on_conflict is None or returning
        else:
            found, done = _insert_then_update(compiler, rows, pk, returning, execute), True
    except BaseException:
        done = False
        raise
    finally:
        if not done:  # or nobody can tell which of the rows are there
            for one, value in zip(rows, before, strict=True):
                setattr(one, pk.attname, value)
    return found


def _fetch_keys(compiler: Any, rows: list[models.Model], pk: Any) -> bool:
    """Give the rows the next numbers of the column's sequence; False where there is none."""
    connection = compiler.connection
    if connection.vendor != "postgresql" or not isinstance(pk, models.AutoField):
        return False
    table = connection.ops.quote_name(pk.model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)", [table, pk.column, len(rows)]
        )
        numbers = [number for (number,) in cursor.fetchall()]
    if None in numbers:  # the column has no sequence of its own
        return False
    for one, number in zip(rows, numbers, strict=True):
        setattr(one, pk.attname, number)
    compiler.query.fields = [pk, *compiler.query.fields]
    return True


def _insert_then_update(compiler: Any, rows: list[models.Model], pk: Any, returning: Any, execute: Any) -> Any:
    query = compiler.query
    waiting: dict[Any, list[Pending]] = {}
    if query.on_conflict is not None:
        raise ValueError(
            f"bulk_create() of {query.get_meta().label} with conflicts: the database does not say which rows it wrote, "
            "and their encrypted values are bound to keys that it makes. Give the rows primary keys"
        )
    _hold_back(compiler, waiting)
    with atomic(using=compiler.using, savepoint=False):
        if len(query.objs) == 1 or compiler.connection.features.can_return_rows_from_bulk_insert:
            found = execute(compiler, returning)
            _take_keys(rows, pk, returning, found)
        else:  # MySQL: one by one, as it tells the last key only
            found, objs = [], query.objs
            for query.objs in [[one] for one in objs]:
                compiler.__dict__.pop("cmk_statement", None)  # the keys of the row before
                _take_keys(query.objs, pk, [pk], execute(compiler, [pk]))
            query.objs = objs
            compiler.__dict__.pop("cmk_statement", None)
        _fill(compiler, pk, waiting)
    return found


def _hold_back(compiler: Any, waiting: dict[Any, list[Pending]]) -> None:
    """The compiler writes an empty value wherever one must wait for its row's key, and notes it in `waiting`."""
    base = type(compiler)

    def pre_save_val(field: Any, obj: models.Model) -> Any:
        value = base.pre_save_val(compiler, field, obj)
        if not is_encrypted(field) or not field.binding.binds_row:
            return value
        if compiler.query.raw and needs_key(value):
            value = Pending(field, obj, value)
        if not isinstance(value, Pending):
            return value
        waiting.setdefault(field, []).append(value)
        return _LATER

    def prepare_value(field: Any, value: Any) -> Any:
        if value is _LATER:
            return compiler.connection.Database.Binary(b"")
        return base.prepare_value(compiler, field, value)

    compiler.pre_save_val, compiler.prepare_value = pre_save_val, prepare_value


def _take_keys(rows: list[models.Model], pk: Any, returning: Any, found: Any) -> None:
    at = list(returning or ()).index(pk) if pk in (returning or ()) else None
    if at is None or len(found) != len(rows):
        raise ValueError(
            f"{pk.model._meta.label} has encrypted fields with bind_row=True, and this database does not return the "
            "keys that it makes"
        )
    for one, values in zip(rows, found, strict=True):
        setattr(one, pk.attname, values[at])


def _fill(compiler: Any, pk: Any, waiting: dict[Any, list[Pending]]) -> None:
    """One UPDATE for as many rows as the database takes parameters."""
    connection, quote = compiler.connection, compiler.connection.ops.quote_name
    by_row: dict[int, tuple[Any, list[Pending]]] = {}
    for values in waiting.values():
        for value in values:
            by_row.setdefault(id(value.instance), (value.instance, []))[1].append(value)
    rows = list(by_row.values())
    most = connection.features.max_query_params or 30_000
    size = max(1, most // (2 * len(waiting) + 1)) if waiting else 1
    table, key = quote(pk.model._meta.db_table), quote(pk.column)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        cases: dict[Any, list[str]] = {}
        params: dict[Any, list[Any]] = {}
        keys = []
        for row, values in part:
            number = pk.get_db_prep_value(row.__dict__[pk.attname], connection)
            keys.append(number)
            for value in values:
                sql, some = value.as_sql(compiler, connection)
                cases.setdefault(value.field, []).append(f"WHEN %s THEN {sql}")
                params.setdefault(value.field, []).extend([number, *some])
        sets = ", ".join(
            f"{quote(field.column)} = CASE {key} {' '.join(whens)} ELSE {quote(field.column)} END"
            for field, whens in cases.items()
        )
        marks = ", ".join(["%s"] * len(keys))
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET {sets} WHERE {key} IN ({marks})",  # noqa: S608 - names from the model
                [*(one for some in params.values() for one in some), *keys],
            )
