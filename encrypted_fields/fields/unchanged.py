"""Stored names that a save() does not write: the row was loaded with them, or has them since it was saved.

`rekey` stores a file under a new name while rows are in the hands of others. If these wrote back the old name with
their other columns, the row would name a file that is gone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import signals
from django.db.models.sql.compiler import SQLUpdateCompiler


class Unchanged:
    """In an UPDATE of the database that the row came from, the column as it is; else the name."""

    __slots__ = ("field", "file")

    def __init__(self, field: Any, file: Any) -> None:
        self.field, self.file = field, file

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        if isinstance(compiler, SQLUpdateCompiler) and self.file.instance._state.db == connection.alias:
            return connection.ops.quote_name(self.field.column), []
        return "%s", [str(self.file.name)]


def remember_saved(model: type[models.Model], field: Any) -> None:
    """Once a save of a row is committed, its file is one that nobody changed."""

    def after(instance: Any, using: str = "", update_fields: Any = None, **_: Any) -> None:
        file = instance.__dict__.get(field.attname) if isinstance(instance, model) else None
        if file is None or isinstance(file, str) or not file or not file._committed or file.unchanged:
            return
        if update_fields is None or not {field.name, field.attname}.isdisjoint(update_fields):
            transaction.on_commit(partial(_saved, file, str(file.name)), using=using)

    key = ("encrypted_fields.unchanged", model, field.name)
    signals.post_save.connect(after, weak=False, dispatch_uid=key)


def _saved(file: Any, name: str) -> None:
    file._saved = name
