"""System checks of one encrypted field: what cannot work on ciphertext is told before it is deployed.

E001 unique · E002 db_index · E003 primary key · E004 db_default · E005 ordering · E006 constraint or unique_together ·
E007 index · E008 bind_row with a composite or computed key · E009 tenant_from names nothing · E011 get_latest_by
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import models

from encrypted_fields.fields.binding import tenant_source

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField


def problems(field: EncryptedField[Any, Any]) -> list[checks.CheckMessage]:
    found = [*_of_field(field), *_of_model(field)]
    return [
        checks.Error(f"{field.name} is encrypted: {text}", hint=hint, obj=field, id=f"encrypted_fields.{code}")
        for code, text, hint in found
    ]


def _of_field(field: Any) -> list[tuple[str, str, str]]:
    found = []
    if field.primary_key:
        found.append(("E003", "it cannot be the primary key", "Use a UUIDField with default=uuid.uuid4."))
    elif field.unique or field.unique_for_date or field.unique_for_month or field.unique_for_year:
        found.append(
            ("E001", "unique compares ciphertext, which never repeats", "Remove unique; use index=[Unique()].")
        )
    if field.db_index:
        found.append(("E002", "an index over ciphertext finds nothing", "Remove db_index; use index=[Exact()]."))
    if field.has_db_default():
        found.append(("E004", "the database cannot encrypt db_default", "Use default=."))
    if field.bind_row and isinstance(field.model._meta.pk, models.CompositePrimaryKey | models.GeneratedField):
        found.append(
            (
                "E008",
                "bind_row=True needs a primary key of one column that is not computed",
                "Use a UUIDField with default=uuid.uuid4 as primary key, or leave bind_row out.",
            )
        )
    source = tenant_source(field)
    if isinstance(source, str):
        first = source.split("__")[0]
        names = {name for one in field.model._meta.fields for name in (one.name, one.attname)}
        if first not in names and not hasattr(field.model, first):
            found.append(("E009", f"tenant_from={source!r} is no attribute of the model", "Name a column of the row."))
    return found


def _of_model(field: EncryptedField[Any, Any]) -> list[tuple[str, str, str]]:
    found, meta, name = [], field.model._meta, field.name
    if name in _names(meta.ordering):
        found.append(("E005", "the database cannot order by it", "Remove it from Meta.ordering."))
    if name in _names([meta.get_latest_by] if isinstance(meta.get_latest_by, str) else meta.get_latest_by or ()):
        found.append(("E011", "the database cannot order by it", "Remove it from Meta.get_latest_by."))
    unique = [one for one in meta.constraints if isinstance(one, models.UniqueConstraint)]
    together = [*meta.unique_together, *(one.fields for one in unique)]
    if any(name in fields for fields in together) or any(name in _inside(one.expressions) for one in unique):
        found.append(
            (
                "E006",
                "a unique constraint compares ciphertext, which never repeats",
                "Remove it from the constraint; use an IndexColumn with Unique().",
            )
        )
    if any(name in {one.lstrip("-") for one in index.fields} | _inside(index.expressions) for index in meta.indexes):
        found.append(("E007", "an index over ciphertext finds nothing", "Remove it from Meta.indexes."))
    return found


def _names(ordering: Any) -> set[str]:
    return {one.lstrip("-") if isinstance(one, str) else "" for one in ordering or ()} | _inside(ordering)


def _inside(expressions: Any) -> set[str]:
    """The names that expressions refer to."""
    found: set[str] = set()
    for one in expressions or ():
        if isinstance(one, models.F):
            found.add(str(getattr(one, "name", "")))
        elif hasattr(one, "get_source_expressions"):
            found |= _inside(one.get_source_expressions())
    return found
