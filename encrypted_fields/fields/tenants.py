"""A row goes to another tenant only together with its encrypted values: alone, they would stay sealed for the old one.

`Patient.objects.update(tenant_id="south")` and `save(update_fields=["tenant_id"])` are looked at before they are
written: if a row really changes its tenant and a value of it would be left behind, they are refused.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db.models import Q, QuerySet
from django.db.models.constants import OnConflict
from django.db.models.sql import Query

from encrypted_fields.fields.writing import is_encrypted


def refuse_stranding(compiler: Any) -> None:
    """FieldError if this UPDATE gives a row another tenant and leaves encrypted values of it behind."""
    query = compiler.query
    written = {field for field, _, _ in query.values}
    for column, left in _decided(query.get_meta(), written).items():
        value = next(value for field, _, value in query.values if field is column)
        if hasattr(value, "prepare_database_save"):
            value = value.prepare_database_save(column)
        if _leaves(compiler, column, value, left):
            names = ", ".join(field.name for field in left)
            raise FieldError(
                f"update() gives rows another {column.name} but leaves {names} sealed for the old one: write them in "
                "the same update, or save the rows whole"
            )


def refuse_upsert(query: Any) -> None:
    """The same for bulk_create(update_conflicts=True), where the rows that are there cannot be asked beforehand."""
    if query.on_conflict is OnConflict.UPDATE:
        for column, left in _decided(query.get_meta(), set(query.update_fields)).items():
            raise ValueError(
                f"bulk_create(update_conflicts=True) cannot update {column.name} without "
                f"{', '.join(field.name for field in left)}: the row there may belong to another tenant"
            )


def reached(compiler: Any) -> Any:
    """The rows of an UPDATE that is being compiled, as a queryset."""
    query = compiler.query.chain(klass=Query)
    query.select_related = False
    query.clear_ordering(force=True)
    query.extra = {}
    query.clear_select_fields()
    return QuerySet(model=compiler.query.model, query=query, using=compiler.using)


def _decided(meta: Any, written: set[Any]) -> dict[Any, list[Any]]:
    """Written columns that say whose row it is (or where the path to that begins) → fields sealed for that tenant
    that are not written."""
    found: dict[Any, list[Any]] = {}
    for field in meta.local_concrete_fields:
        if is_encrypted(field) and field not in written and isinstance(field.binding.tenant_from, str):
            first = field.binding.tenant_from.split("__")[0]
            for column in written:
                if first in (column.name, column.attname):
                    found.setdefault(column, []).append(field)
    return found


def _leaves(compiler: Any, column: Any, value: Any, left: list[Any]) -> bool:
    there = Q()
    for field in left:
        there |= Q(**{f"{field.name}__isnull": False})
    rows = reached(compiler).filter(there)
    if hasattr(value, "resolve_expression"):
        return bool(rows.exists())
    path, _, after = left[0].binding.tenant_from.partition("__")
    if not after:
        return bool(rows.exclude(**{path: value}).exists())
    target = column.remote_field.model._base_manager.using(compiler.using).filter(pk=value)
    tenant = target.values_list(after, flat=True).first()
    return bool(rows.exclude(**{f"{path}__{after}": tenant}).exists())
