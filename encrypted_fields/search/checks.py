"""System checks of an index: a wrong declaration is told before it is deployed.

E030 a source is no encrypted field of the model · E031 its type cannot be indexed · E032 sources of several tenants ·
E033 the index works on text only · E034 two indexes answer the same lookup · E035 a type without an order ·
E036 (with --database) rows that searches do not find · W031 an order-revealing index · W032 a unique constraint over
an index that a rotation weakens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.db import DatabaseError, connections, models, router

from encrypted_fields.moving import ENCRYPTED
from encrypted_fields.search.ordered import Ordered, width_of

if TYPE_CHECKING:
    from encrypted_fields.search.column import IndexColumn

_UNORDERED = (models.JSONField,)
_TEXT = (models.CharField, models.TextField, models.GenericIPAddressField)


def problems(column: IndexColumn) -> list[checks.CheckMessage]:
    if column.slot:
        return []
    here: dict[str, Any] = {one.name: one for one in column.model._meta.local_concrete_fields}
    strange = [name for name in column.sources if not getattr(here.get(name), "cmk_encrypted", False)]
    if strange:
        return [
            _error(
                column,
                "E030",
                f"{', '.join(strange)} is no encrypted field of this model",
                "Name encrypted fields of the same model; plain columns need no blind index.",
            )
        ]
    found = []
    fields = [here[name] for name in column.sources]
    if any(isinstance(one.inner, _UNORDERED) or hasattr(one.inner, "base_field") for one in fields):
        found.append(
            _error(
                column,
                "E031",
                "JSON and arrays have several forms of one value",
                "Index a field that holds one plain value.",
            )
        )
    if len({str(one.binding.tenant_from) for one in fields}) > 1:
        found.append(
            _error(column, "E032", "its fields belong to different tenants", "Give them the same tenant_from.")
        )
    if column.index.text_only and any(not isinstance(one.inner, _TEXT) for one in fields):
        found.append(
            _error(
                column,
                "E033",
                f"{type(column.index).__name__} works on text",
                "Use Exact(), or By() with a function of your own.",
            )
        )
    found += _ambiguous(column)
    if not column.index.unique and _is_constrained(column):
        found.append(
            checks.Warning(
                f"a unique constraint names {column.name}, which holds while one secret is in use: during a rotation "
                "the database lets a second row with the same value in",
                hint="Use Unique(), alone or in an IndexColumn over encrypted fields; or silence the check.",
                obj=column,
                id="encrypted_fields.W032",
            )
        )
    if isinstance(column.index, Ordered):
        found += _order(column, fields)
    return found


def _is_constrained(column: IndexColumn) -> bool:
    meta = column.model._meta
    constraints = [one.fields for one in meta.constraints if isinstance(one, models.UniqueConstraint)]
    return any(column.name in names for names in (*meta.unique_together, *constraints))


def _order(column: IndexColumn, fields: list[Any]) -> list[checks.CheckMessage]:
    if len(fields) > 1 or width_of(fields[0].inner) is None:
        hint = "Whole numbers, decimals of up to 18 digits, dates, times, moments or durations, one field."
        return [_error(column, "E035", "Ordered() knows no order of these values", hint)]
    return [
        checks.Warning(
            f"{column.name} shows whoever reads the database the order of all values of a tenant, and of any two of "
            "them the first bit in which they differ: with many rows about the values themselves",
            hint="If that is acceptable for this field, silence the check; else use sorted_by() and filtered_by().",
            obj=column,
            id="encrypted_fields.W031",
        )
    ]


@checks.register(checks.Tags.database)
def check_filled(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """`manage.py check --database default`: each row that has the values has its index."""
    from encrypted_fields.search.refresh import index_columns, unfilled

    found = []
    for model in apps.get_models():
        for column in index_columns(model):
            if any(field.state not in (None, ENCRYPTED) for field in column.fields):
                continue  # filters ask the column in clear as well (docs/moving.md)
            for alias in databases or ():
                if not router.allow_migrate_model(alias, model) or not model._meta.can_migrate(connections[alias]):
                    continue
                try:
                    missing = model._base_manager.using(alias).filter(unfilled(column)).exists()
                except DatabaseError:
                    continue  # the table or the column is not there yet
                if missing:
                    found.append(
                        _error(
                            column,
                            "E036",
                            f"searches do not find some rows of {alias}",
                            "Run manage.py rotate_index.",
                        )
                    )
    return found


def _ambiguous(column: IndexColumn) -> list[checks.CheckMessage]:
    if len(column.sources) > 1:
        return []
    others = [
        one for one in column.fields[0].index_columns
        if len(one.sources) == 1 and not one.slot and one is not column and one.index.lookups & column.index.lookups
    ]  # fmt: skip
    if not any(one.creation_counter < column.creation_counter for one in others):
        return []
    return [
        _error(
            column,
            "E034",
            f"{others[0].name} answers {', '.join(sorted(column.index.lookups))} already",
            "Remove one of the two.",
        )
    ]


def _error(column: IndexColumn, code: str, text: str, hint: str) -> checks.CheckMessage:
    return checks.Error(f"{column.name} is an index: {text}", hint=hint, obj=column, id=f"encrypted_fields.{code}")
