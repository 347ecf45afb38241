"""Migration operations for a move: the table stays online, and no migration asks for a key. docs/moving.md."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.migrations.operations.base import Operation

from encrypted_fields.moving import STATES, PlaintextLeft
from encrypted_fields.moving.plaintext import PlaintextField


class EncryptField(Operation):
    """The first step: the old column allows NULL, and a new, empty one stands beside it. For values and for files.

    `name` is the field that exists; it becomes `field`, and its column lives on as `plaintext`, a PlaintextField whose
    `db_column` is the old one. Neither the table nor a value is rewritten (PostgreSQL; a database that must rebuild a
    table to drop NOT NULL does so). Backwards: the new column is dropped; PlaintextLeft unless all it held is in clear.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, name: str, field: Any, plaintext: PlaintextField) -> None:
        if field.state not in STATES or not field.plaintext:
            raise ValueError(f"EncryptField takes a field with plaintext= and a state of {', '.join(STATES)}")
        self.model_name, self.name, self.field, self.plaintext = model_name, name, field, plaintext

    @property
    def _clear(self) -> str:
        return str(self.field.plaintext)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.model_name, self.name, self.field, self.plaintext], {}

    def state_forwards(self, app_label: str, state: Any) -> None:
        model = self.model_name.lower()
        state.rename_field(app_label, model, self.name, self._clear)
        state.alter_field(app_label, model, self._clear, self.plaintext, preserve_default=True)
        state.add_field(app_label, model, self.name, self.field, preserve_default=True)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        old = from_state.apps.get_model(app_label, self.model_name)
        new = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, new):
            return
        before, clear = old._meta.get_field(self.name), new._meta.get_field(self._clear)
        if before.column != clear.column:
            raise ValueError(f"{self._clear} needs db_column={before.column!r}: the column that exists")
        schema_editor.alter_field(old, before, clear)
        schema_editor.add_field(new, _bare(new, self.name))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        new = from_state.apps.get_model(app_label, self.model_name)  # as it is
        old = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, new):
            return
        sealed, clear = new._meta.get_field(self.name), new._meta.get_field(self._clear)
        quote = schema_editor.quote_name
        empty = f" OR {quote(clear.column)} = ''" if isinstance(clear, models.FileField) else ""
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM {quote(new._meta.db_table)} WHERE {quote(sealed.column)} IS NOT NULL"  # noqa: S608
                f" AND ({quote(clear.column)} IS NULL{empty}) LIMIT 1"
            )
            if cursor.fetchone():
                raise PlaintextLeft(f"{self.name}: rows have ciphertext only, run manage.py decrypt_existing first")
        before = old._meta.get_field(self.name)
        schema_editor.remove_field(new, sealed)
        if isinstance(clear, models.FileField) and not before.null:  # no file was "" there
            schema_editor.execute(
                f"UPDATE {quote(new._meta.db_table)} SET {quote(clear.column)} = ''"  # noqa: S608
                f" WHERE {quote(clear.column)} IS NULL"
            )
        schema_editor.alter_field(old, clear, before)

    def describe(self) -> str:
        return f"Put an encrypted column beside {self.name} of {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        return f"encrypt_{self.model_name.lower()}_{self.name.lower()}"


def _bare(model: Any, name: str) -> Any:
    """The new column by itself. The field would offer the schema editor a value for both columns."""
    field = model._meta.get_field(name)
    column: models.Field[Any, Any] = models.BinaryField(null=True, db_column=field.column)
    if isinstance(field, models.FileField):
        column = models.CharField(max_length=field.max_length, null=True, db_column=field.column)
    column.set_attributes_from_name(name)
    column.model = model
    return column
