"""Encrypted columns in queries: what may be selected, and where nothing may be asked of them.

Django asks a column for its SQL (`Col.as_sql`) with the compiler at hand. The first encrypted column of a SELECT puts
a `Reader` on that compiler object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models.sql import Query
from django.db.models.sql import compiler as sql

from encrypted_fields.fields.lookups import refused
from encrypted_fields.fields.raw import RawColumn
from encrypted_fields.fields.reader import Reader, SealedCol
from encrypted_fields.search.ordering import order_sql, ordered_column

_OTHER = (sql.SQLInsertCompiler, sql.SQLDeleteCompiler, sql.SQLAggregateCompiler)


class EncryptedCol(SealedCol):
    """A reference to an encrypted column. It may be selected and compared with NULL; anything else is refused."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        reader = compiler.__dict__.get("cmk_reader")
        if compiler.select is None:
            # without aliases: an expression of the schema, such as a generated column's or an index's
            selecting = not isinstance(compiler, _OTHER) and compiler.query.alias_cols and _selects(compiler)
        else:
            selecting = reader is not None and (reader.grouping or compiler.__dict__.get("where") is None)
        column = None
        # the select list is done and the conditions are not begun: this is ORDER BY
        ordering = compiler.select is not None and compiler.__dict__.get("where") is None
        if ordering and type(compiler.query) is Query and not (reader is not None and reader.grouping):
            column = ordered_column(self.target)
        if not selecting and column is None:
            raise refused(self.target)
        if reader is None:
            Reader(compiler)
        return self.column_sql(compiler, connection) if column is None else order_sql(column, self.alias, compiler)

    def column_sql(self, compiler: Any, connection: Any) -> Any:
        """For what is known to be harmless: IS NULL, and keeping the column's own bytes."""
        return super().as_sql(compiler, connection)

    def get_db_converters(self, connection: Any) -> list[Callable[..., Any]]:
        """Only raw() comes to call what this returns: a reader takes whole rows instead."""
        return [RawColumn(self.target)]


def _selects(compiler: Any) -> bool:
    # An UPDATE that touches several tables runs a SELECT of its own first; its SET clause comes later or without it.
    if isinstance(compiler, sql.SQLUpdateCompiler):
        query: Any = compiler.query
        return bool(query.related_updates) or query.count_active_tables() != 1
    return True
