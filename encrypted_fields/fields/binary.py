"""Rows from PostgreSQL in its binary form instead of its text form: a stored value is half as long on the way, and
nobody makes hexadecimal of it and bytes again, which takes more time than all else that an unread value costs
(ADR 0024).

Django's cursors know text only, and in text and in binary some types read differently. So a query comes in binary when
each of its columns has a type that is known to read the same. Anything else is left to Django: another database or
driver, annotations, the types of extensions, server-side binding, a cursor that some tool has put around Django's, a
handful of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final

from django.db.backends.utils import CursorDebugWrapper, CursorWrapper
from django.db.models.expressions import Col

# As PostgreSQL spells them, without their sizes. tests/encrypted_fields/matrix/test_binary_rows.py compares each.
ALIKE: Final = frozenset(
    ("bytea", "uuid", "boolean", "smallint", "integer", "bigint", "numeric", "double precision", "text", "varchar",
     "date", "time", "timestamp with time zone", "interval", "jsonb")
)  # fmt: skip

FEW: Final = 25


@contextmanager
def binary_rows(compiler: Any) -> Iterator[None]:
    """Inside, the SELECT of this compiler is answered in binary, if it turns out to be one of ours and all its columns
    read alike."""
    if compiler.connection.vendor != "postgresql" or _cursor() is None:
        yield
        return
    base, made = type(compiler).as_sql, list[str]()

    def as_sql(*args: Any, **kwargs: Any) -> Any:
        found = base(compiler, *args, **kwargs)
        made.append(found[0])
        return found

    def run(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        # an instrument may run a statement of its own before this one
        if any(sql is one for one in made) and _is_ours(compiler):
            _swap(context["cursor"])
        return execute(sql, params, many, context)

    compiler.as_sql = as_sql
    try:
        with compiler.connection.execute_wrapper(run):
            yield
    finally:
        del compiler.as_sql  # which holds the compiler


def worth_it(query: Any) -> bool:
    """Not for a handful of rows, as get() asks for: another cursor would cost as much as it saves."""
    few = query.high_mark is not None and query.high_mark - query.low_mark <= FEW
    return not few and query.explain_info is None


def read_alike(expressions: Iterable[Any], connection: Any) -> bool:
    """Whether each of these is a column that gives the same Python value in both forms."""
    return all(isinstance(one, Col) and _kind(one.target, connection) in ALIKE for one in expressions)


def _kind(field: Any, connection: Any) -> str:
    found: str | None = field.db_type(connection)
    return (found or "").split("(")[0]


def _is_ours(compiler: Any) -> bool:
    reader = compiler.__dict__.get("cmk_reader")
    return reader is not None and bool(reader.in_binary)


def _swap(wrapper: Any) -> None:
    make = _cursor()
    if make is not None and type(wrapper) in (CursorWrapper, CursorDebugWrapper):
        wrapper.cursor = make(wrapper.cursor, wrapper.db)


@cache
def _cursor() -> Callable[[Any, Any], Any] | None:
    """What makes a cursor for binary out of one of Django's; None where psycopg 3 is not the driver."""
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        return None
    from django.db.backends.postgresql.base import Cursor, ServerSideCursor
    from psycopg import ClientCursor
    from psycopg import Cursor as BoundByServer
    from psycopg.adapt import Loader
    from psycopg.pq import Format
    from psycopg.types.datetime import TimestamptzBinaryLoader

    class InZone(TimestamptzBinaryLoader):
        """As Django's own loader for text."""

        zone: Any = None

        def load(self, data: Any) -> Any:
            return super().load(data).replace(tzinfo=self.zone)

    class JsonAsText(Loader):
        """Django decodes it itself. The first byte is the version of the form, 1."""

        format = Format.BINARY

        def load(self, data: Any) -> str:
            whole = bytes(data)
            if whole[:1] != b"\x01":
                raise ValueError("PostgreSQL sends jsonb in a form that is not known here")
            return whole[1:].decode()

    @cache
    def in_zone(zone: Any) -> type[InZone]:
        return type("InZone", (InZone,), {"zone": zone})

    class BinaryCursor(BoundByServer[Any]):
        """As Django's, which puts the parameters into the statement, but for the form of the rows."""

        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
            whole = ClientCursor(self.connection).mogrify(query, params)
            return super().execute(whole, None, prepare=False, binary=True)

    def make(cursor: Any, database: Any) -> Any:
        kind, made = type(cursor), cursor
        if kind is ServerSideCursor:  # of iterator(); it knows binary
            made.execute = partial(cursor.execute, binary=True)
        elif kind is Cursor:
            cursor.close()
            made = BinaryCursor(cursor.connection)
        else:
            return cursor
        made.adapters.register_loader("timestamptz", in_zone(database.timezone))
        made.adapters.register_loader("jsonb", JsonAsText)
        return made

    return make
