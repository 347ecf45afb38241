"""A stored name that a save() does not write: the row was loaded with it, and may have another one by now."""

from __future__ import annotations

from typing import Any

from django.db.models.sql.compiler import SQLUpdateCompiler


class Unchanged:
    """In an UPDATE of the database that the row came from, the column as it is; else the name.

    `rekey` stores a file under a new name while rows are in the hands of others. If these wrote back the old name with
    their other columns, the row would name a file that is gone.
    """

    __slots__ = ("field", "file")

    def __init__(self, field: Any, file: Any) -> None:
        self.field, self.file = field, file

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        if isinstance(compiler, SQLUpdateCompiler) and self.file.instance._state.db == connection.alias:
            return connection.ops.quote_name(self.field.column), []
        return "%s", [str(self.file.name)]
