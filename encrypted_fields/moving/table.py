"""One model's table, past the ORM: pages of raw columns by primary key, and updates that compare before they swap."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from django.db import OperationalError, connections, models, transaction

from encrypted_fields.conf import BATCH

TOGETHER = 250  # rows in one transaction of ours: a writer waits for that many updates at most
_TRIES = 4


class Table:
    """Reads and writes stored values as the driver gives and takes them. A page is all that is in memory."""

    def __init__(self, model: type[models.Model], using: str) -> None:
        self.model, self.using = model, using
        self.pk: Any = model._meta.pk
        self._converters: dict[Any, list[Any]] = {}

    @cached_property
    def connection(self) -> Any:
        return connections[self.using]

    def name(self, field: Any) -> str:
        found: str = self.connection.ops.quote_name(field.column)
        return found

    def filled(self, field: Any) -> str:
        """SQL: the column holds something. A file field without a file is NULL or empty."""
        some = f"{self.name(field)} IS NOT NULL"
        return f"{some} AND {self.name(field)} <> ''" if isinstance(field, models.FileField) else some

    @cached_property
    def quoted(self) -> str:
        found: str = self.connection.ops.quote_name(self.model._meta.db_table)
        return found

    def count(self, where: str, params: Sequence[Any] = ()) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {self.quoted} WHERE {where}", list(params))  # noqa: S608
            return int(cursor.fetchone()[0])

    def pages(
        self, fields: Sequence[Any], where: str, params: Sequence[Any] = (), size: int = BATCH
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Rows (primary key, then `fields`), `size` at a time, in the order of the key: no OFFSET, no open cursor."""
        pk = self.name(self.pk)
        columns = ", ".join([pk, *map(self.name, fields)])
        start = f"SELECT {columns} FROM {self.quoted} WHERE ({where})"  # noqa: S608 - names from the model
        last: list[Any] = []
        while True:
            more = f" AND {pk} > %s" if last else ""
            with self.connection.cursor() as cursor:
                cursor.execute(f"{start}{more} ORDER BY {pk} LIMIT {size}", [*params, *last])
                page = cursor.fetchall()
            if page:
                yield page
            if len(page) < size:
                return
            last = [page[-1][0]]

    def row(self, fields: Sequence[Any], raw_pk: Any) -> tuple[Any, ...] | None:
        """What these columns of one row hold now; None when it is gone."""
        columns = ", ".join(map(self.name, fields))
        sql = f"SELECT {columns} FROM {self.quoted} WHERE {self.name(self.pk)} = %s"  # noqa: S608 - names from the model
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [raw_pk])
            found: tuple[Any, ...] | None = cursor.fetchone()
            return found

    def value(self, field: Any, raw: Any) -> Any:
        """What the field makes of a raw value of its column."""
        if field not in self._converters:
            column = field.get_col(self.model._meta.db_table)
            self._converters[field] = [
                *self.connection.ops.get_db_converters(column),
                *column.get_db_converters(self.connection),
            ]
        for convert in self._converters[field]:
            raw = convert(raw, field.get_col(self.model._meta.db_table), self.connection)
        return raw

    def again(self, field: Any, raw: Any) -> Any:
        """A raw value as the driver takes it back: SQLite's parses dates and times, and does not write them."""
        if self.connection.vendor == "sqlite" and isinstance(raw, datetime.date | datetime.time):
            return field.base.get_db_prep_value(self.value(field, raw), self.connection)
        return raw

    def swap(
        self, write: Sequence[tuple[Any, bool]], expect: Sequence[tuple[Any, bool]], rows: Sequence[tuple[Any, ...]]
    ) -> int:
        """Write columns of rows whose other columns are still as they were; the number of rows that were.

        `write` and `expect`: (field, whether a parameter comes; else NULL). A row: its parameters in that order, the
        primary key between them.
        """
        if not rows:
            return 0
        sets = [f"{self.name(field)} = {self._parameter(field) if given else 'NULL'}" for field, given in write]
        same = [self._same(field) if given else f"{self.name(field)} IS NULL" for field, given in expect]
        where = " AND ".join([f"{self.name(self.pk)} = %s", *same])
        sql = f"UPDATE {self.quoted} SET {', '.join(sets)} WHERE {where}"  # noqa: S608 - names from the model
        done = 0
        for start in range(0, len(rows), TOGETHER):
            done += self._execute(sql, rows[start : start + TOGETHER])
        return done

    def bytes(self, data: bytes) -> Any:
        return self.connection.Database.Binary(data)

    def _execute(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        for attempt in range(_TRIES):
            try:
                with transaction.atomic(using=self.using), self.connection.cursor() as cursor:
                    cursor.executemany(sql, rows)
                    return int(cursor.rowcount)
            except OperationalError:  # a deadlock with a writer: nothing of ours was kept
                if attempt + 1 == _TRIES or self.connection.in_atomic_block or not self.connection.is_usable():
                    raise
        raise AssertionError

    def _parameter(self, field: Any) -> str:
        if getattr(field, "cmk_encrypted", False) or isinstance(field, models.BinaryField):
            return "_binary %s" if self.connection.vendor == "mysql" else "%s"
        if self.connection.vendor == "postgresql":
            return f"CAST(%s AS {field.db_type(self.connection)})"
        return "%s"

    def _same(self, field: Any) -> str:
        name, parameter = self.name(field), self._parameter(field)
        textual = field.get_internal_type() in ("CharField", "TextField", "SlugField", "FileField")
        if self.connection.vendor == "mysql" and textual:  # a collation may hold "a" and "A" for the same
            return f"CAST({name} AS BINARY) = CAST({parameter} AS BINARY)"
        return f"{name} = {parameter}"
