"""An INSERT of many rows on PostgreSQL with encrypted columns: each column is one parameter, not each value.

Django does so for columns of plain values (UNNEST of one array a column). A value of ours speaks SQL for itself, which
makes Django write row by row; a `bytea[]` of psycopg would cost more than that. So the stored bytes of a column travel
as one text, base64 between commas, which PostgreSQL splits and decodes. Anything else is left to Django.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db.backends.postgresql.compiler import InsertUnnest, SQLInsertCompiler

from encrypted_fields.fields.writing import Pending, Statement, is_encrypted

_NULL = b"-"  # no letter of base64; the empty text is an empty value
_TEXT = f"string_to_array((%s)::text, ',', '{_NULL.decode()}')"


class _Columns(InsertUnnest):
    """SQL of the arrays, and which of them are base64."""

    def __init__(self, arrays: Sequence[str]) -> None:
        super().__init__(arrays)
        self._names = [f"c{at}" for at in range(len(arrays))]

    def __str__(self) -> str:
        values = ", ".join(
            f"decode({name}, 'base64')" if array is _TEXT else name
            for name, array in zip(self._names, self, strict=True)
        )
        names = ", ".join(self._names)
        return f"(SELECT {values} FROM {super().__str__()} AS rows ({names})) AS rows"  # noqa: S608 - names from here


@contextmanager
def by_columns(compiler: Any) -> Iterator[None]:
    """Inside, this compiler writes many rows by columns, where it can."""
    ours = issubclass(type(compiler), SQLInsertCompiler) and any(map(is_encrypted, compiler.query.fields))
    if not ours:
        yield
        return
    base = type(compiler).assemble_as_sql

    def assemble(fields: Sequence[Any], rows: list[list[Any]]) -> Any:
        return _assemble(compiler, fields, rows) or base(compiler, fields, rows)

    compiler.assemble_as_sql = assemble
    try:
        yield
    finally:
        del compiler.assemble_as_sql  # which holds the compiler


def _assemble(compiler: Any, fields: Sequence[Any], rows: list[list[Any]]) -> tuple[_Columns, list[list[Any]]] | None:
    """As `assemble_as_sql`; None when a column cannot be an array."""
    if len(rows) < 2:
        return None
    arrays, params = list[str](), list[Any]()
    for field, values in zip(fields, zip(*rows, strict=True), strict=True):
        if _is_plain(field, values, compiler.connection):
            # without its size: a value that is too long is refused, not cut
            arrays.append(f"(%s)::{field.db_type(compiler.connection).split('(')[0]}[]")
            params.append(list(values))
        elif field is not None and field.get_internal_type() == "BinaryField":
            stored = _stored(compiler, field, values)
            if stored is None:
                return None
            arrays.append(_TEXT)
            params.append(
                b",".join([_NULL if one is None else b2a_base64(one, newline=False) for one in stored]).decode()
            )
        else:
            return None
    return _Columns(arrays), [params]


def _is_plain(field: Any, values: Sequence[Any], connection: Any) -> bool:
    """What Django itself asks before it makes a column an array."""
    if field is None or hasattr(field, "get_placeholder"):
        return False
    kind = (field.target_field if field.is_relation else field).get_internal_type()
    return kind in connection.data_types and kind != "BinaryField" and not any(hasattr(one, "as_sql") for one in values)


def _stored(compiler: Any, field: Any, values: Sequence[Any]) -> list[bytes | None] | None:
    """The bytes of each value; None if one of them is more than bytes."""
    statement: Statement | None = None
    placeholder, found = getattr(field, "get_placeholder", None), list[bytes | None]()
    for value in values:
        if value is None:
            found.append(None)
        elif type(value) is Pending:
            statement = statement or Statement.of(compiler)
            found.append(statement.stored(value))
        else:
            sql, params = compiler.field_as_sql(field, placeholder, value)
            if sql not in ("%s", "NULL"):
                return None
            data = getattr(params[0], "obj", params[0]) if params else None  # psycopg's Binary
            if not isinstance(data, bytes | bytearray | memoryview | None):
                return None
            found.append(data if data is None else bytes(data))
    return found
