"""Three places that Django has no hook for: an INSERT whose rows have no keys yet, an UPDATE as a whole (ADR 0019), and
the form of a SELECT's rows (ADR 0024).

All are methods of Django's compilers. They are wrapped once, when the first encrypted field is defined, and for a
statement that concerns no encrypted field they do what they did.
"""

from __future__ import annotations

from typing import Any

from django.db.models.sql.compiler import SQLCompiler, SQLInsertCompiler, SQLUpdateCompiler

from encrypted_fields.fields import inserting, tenants
from encrypted_fields.fields.binary import binary_rows
from encrypted_fields.fields.unnest import by_columns
from encrypted_fields.search.statements import write_along

_execute = SQLCompiler.execute_sql
_execute_insert = SQLInsertCompiler.execute_sql
_update_as_sql = SQLUpdateCompiler.as_sql


def install() -> None:
    """Does nothing the second time."""
    SQLCompiler.execute_sql = _select  # type: ignore[method-assign]
    SQLInsertCompiler.execute_sql = _insert  # type: ignore[method-assign]
    SQLUpdateCompiler.as_sql = _update  # type: ignore[method-assign]


def _select(self: Any, *args: Any, **kwargs: Any) -> Any:
    with binary_rows(self):
        return _execute(self, *args, **kwargs)


def _insert(self: Any, returning_fields: Any = None) -> Any:
    tenants.refuse_upsert(self.query)
    with by_columns(self):
        if inserting.keyless(self):
            return inserting.insert(self, returning_fields, _execute_insert)
        return _execute_insert(self, returning_fields)


def _update(self: Any) -> Any:
    tenants.refuse_stranding(self)
    write_along(self.query)
    return _update_as_sql(self)
