"""Which fields a command means, and which of them go together: one table, one tenant, one key a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.apps import apps
from django.db import models, router

from encrypted_fields.moving.table import Table


class Group(NamedTuple):
    """Encrypted fields of one table in one database whose rows take their tenant from the same place; `files`: file
    fields, of which each file has a key of its own."""

    table: Table
    fields: list[Any]
    files: bool = False

    @property
    def title(self) -> str:
        names = ", ".join(field.name for field in self.fields)
        return f"{self.table.model._meta.label} ({names}) in {self.table.using}"


def groups(
    databases: Sequence[str], names: Sequence[str] = (), fields: Sequence[str] = (), *, moving: bool
) -> Iterator[Group]:
    """`names`: models as "app.Model", all if empty; `fields` of them. `moving`: only fields that have a state.

    ValueError for a name that means nothing.
    """
    for model in chosen_models(names):
        chosen = list(_fields(model, fields, moving))
        missing = set(fields) - {field.name for field in chosen}
        if names and missing:
            what = "moving" if moving else "encrypted"
            raise ValueError(f"{model._meta.label} has no {what} field {', '.join(sorted(missing))}")
        for using in databases:
            if router.allow_migrate_model(using, model):
                yield from _together(Table(model, using), chosen)


def chosen_models(names: Sequence[str]) -> list[type[models.Model]]:
    """All that have a table of their own, unless some are named."""
    found = apps.get_models(include_auto_created=True)
    return [_model(name) for name in names] or [model for model in found if not model._meta.proxy]


def _model(name: str) -> type[models.Model]:
    try:
        return apps.get_model(name)
    except (LookupError, ValueError):
        pass
    raise ValueError(f"there is no model {name!r}: write app_label.Model")


def _fields(model: type[models.Model], names: Sequence[str], moving: bool) -> Iterator[Any]:
    for field in model._meta.local_concrete_fields:
        ours = getattr(field, "cmk_encrypted", False) or getattr(field, "cmk_file", False)
        named = ours and (not names or field.name in names)
        if named and (not moving or getattr(field, "state", None) is not None):
            yield field


def _together(table: Table, fields: Sequence[Any]) -> Iterator[Group]:
    found: dict[Any, list[Any]] = {}
    for field in fields:
        found.setdefault((field.binding.tenant_from, getattr(field, "cmk_file", False)), []).append(field)
    for (_, files), some in found.items():
        yield Group(table, some, files)
