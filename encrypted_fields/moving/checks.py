"""System checks of a move. The rows themselves are looked at by `check --deploy`, `check --database` and `migrate`.

E040 plaintext is left where the state says that there is none · E041 plaintext= names no PlaintextField · E042 a state
that would write another package's ciphertext · E043 an unknown reader · E044 a PlaintextField that no field names ·
W040 a move that is under way
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core import checks
from django.db import connections, models, router

from encrypted_fields.legacy import READERS
from encrypted_fields.moving import DUAL, ENCRYPTED, PLAINTEXT
from encrypted_fields.moving.plaintext import PlaintextField
from encrypted_fields.moving.table import Table


def problems(field: Any) -> Iterator[checks.CheckMessage]:
    """Of one moving field, without its rows."""
    model = field.model
    clear = next((one for one in model._meta.local_concrete_fields if one.name == field.plaintext), None)
    alike = isinstance(clear, models.FileField) is isinstance(field, models.FileField)
    if not isinstance(clear, PlaintextField) or not alike:
        yield _error(
            field, "E041", f"plaintext={field.plaintext!r} is no PlaintextField of its kind in its table",
            "Add it to the model, with the db_column that the values lie in.",
        )  # fmt: skip
        return
    if clear.reader is not None and clear.reader not in READERS:
        yield _error(field, "E043", f"reader={clear.reader!r} is not known", f"One of {', '.join(sorted(READERS))}.")
    if clear.reader is not None and field.state in (PLAINTEXT, DUAL):
        yield _error(
            field, "E042", f"state={field.state!r} would write what {clear.reader} reads, which is read only here",
            'Use state="readable".',
        )  # fmt: skip


@checks.register(checks.Tags.models)
def check_orphans(**_: Any) -> list[checks.CheckMessage]:
    return [
        _error(
            one, "E044", "no EncryptedField of the model names it in plaintext=, so nobody writes it",
            "Name it, or remove it with its column.",
        )
        for model in apps.get_models()
        for one in model._meta.local_concrete_fields
        if isinstance(one, PlaintextField) and one.encrypted is None
    ]  # fmt: skip


@checks.register("encrypted_fields", deploy=True)
def check_deploy(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """`check --deploy`: no plaintext in encrypted-only fields, in any database; and what is still under way."""
    found = check_rows(databases=list(connections) if databases is None else databases)
    for field in _moving():
        if field.state != ENCRYPTED:
            text = f"state={field.state!r}: values lie in clear in {field.plaintext}"
            hint = "docs/moving.md says which deploy follows."
            found.append(checks.Warning(f"{field.name} is moving: {text}", hint, field, "encrypted_fields.W040"))
    return found


@checks.register(checks.Tags.database)
def check_rows(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    return [
        _error(
            field, "E040", f"state={ENCRYPTED!r}, and plaintext is left in {field.clear.column} ({using})",
            "Run manage.py encrypt_existing.",
        )
        for field in _moving()
        for using in databases or ()
        if field.state == ENCRYPTED and router.allow_migrate_model(using, field.model) and left(field, using)
    ]  # fmt: skip


def left(field: Any, using: str) -> bool:
    """Whether any row of the field's table holds its value in clear, or names a file in clear: one query, no file is
    looked at. No, when the column is not there yet."""
    table, look = Table(field.model, using), connections[using].introspection
    sql = f"SELECT 1 FROM {table.quoted} WHERE {table.filled(field.clear)} LIMIT 1"  # noqa: S608 - names
    with connections[using].cursor() as cursor:
        name = field.model._meta.db_table
        if name not in look.table_names(cursor):
            return False
        if field.clear.column not in {one.name for one in look.get_table_description(cursor, name)}:
            return False
        cursor.execute(sql)
        return cursor.fetchone() is not None


def _moving() -> Iterator[Any]:
    for model in apps.get_models():
        for field in model._meta.local_concrete_fields:
            ours = getattr(field, "cmk_encrypted", False) or getattr(field, "cmk_file", False)
            if ours and getattr(field, "state", None) is not None:
                yield field


def _error(field: models.Field[Any, Any], code: str, text: str, hint: str) -> checks.CheckMessage:
    return checks.Error(f"{field.name}: {text}", hint=hint, obj=field, id=f"encrypted_fields.{code}")
