"""System checks of what the admin and models would ask of encrypted columns: told before it is deployed.

E014 search_fields · E015 list_filter · E016 ordering of an admin · E017 date_hierarchy · E018 Meta.ordering across a
relation · E019 GeneratedField · E020 condition of a constraint or index · E021 unique_for_date by it ·
W014 a column of the admin's list that would be sorted by it
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import models
from django.db.models.constants import LOOKUP_SEP

from encrypted_fields.fields.lookups import NullOnly
from encrypted_fields.fields.writing import is_encrypted

_PREFIXES = {"^": "istartswith", "=": "iexact", "@": "search"}  # of search_fields
_COMPUTE = "the database cannot compute with it"


@checks.register(checks.Tags.models)
def check_models(app_configs: Any = None, **_: Any) -> list[checks.CheckMessage]:
    chosen = None if app_configs is None else {one.label for one in app_configs}
    found: list[checks.CheckMessage] = []
    for model in apps.get_models():
        if chosen is None or model._meta.app_label in chosen:
            found += model_problems(model)
    return found


@checks.register(checks.Tags.admin)
def check_admin(**_: Any) -> list[checks.CheckMessage]:
    if not apps.is_installed("django.contrib.admin"):
        return []
    from django.contrib.admin.sites import all_sites

    return [
        problem
        for site in all_sites
        for model, model_admin in site._registry.items()
        for problem in admin_problems(model, model_admin)
    ]


def model_problems(model: type[models.Model]) -> list[checks.CheckMessage]:
    meta, found = model._meta, list[checks.CheckMessage]()
    for path in _paths(meta.ordering or ()):
        if LOOKUP_SEP in path and encrypted_at(model, path):
            found.append(_error("E018", model, f"Meta.ordering names {path}", "the database cannot order by it"))
    for field in meta.local_fields:
        if isinstance(field, models.GeneratedField) and _uses(model, field.expression):  # type: ignore[attr-defined]
            found.append(_error("E019", field, f"its expression uses {_uses(model, field.expression)}", _COMPUTE))  # type: ignore[attr-defined]
        for option in ("unique_for_date", "unique_for_month", "unique_for_year"):
            if getattr(field, option, None) and encrypted_at(model, getattr(field, option)):
                found.append(
                    _error("E021", field, f"{option} names an encrypted field", "the database cannot compare it")
                )
    for one in (*meta.constraints, *meta.indexes):
        used = _uses(model, getattr(one, "condition", None))
        if used:
            found.append(_error("E020", model, f"the condition of {one.name} uses {used}", _COMPUTE))
    return found


def admin_problems(model: type[models.Model], model_admin: Any) -> list[checks.CheckMessage]:
    found, owner = list[checks.CheckMessage](), type(model_admin)
    for name in model_admin.search_fields or ():
        field, lookup = _searched(model, name)
        if field is not None and not _answers(field, lookup):
            found.append(_error("E014", owner, f"search_fields names {name}", "the database cannot search in it"))
    for entry in model_admin.list_filter or ():
        name, kind = entry if isinstance(entry, list | tuple) else (entry, None)
        field = encrypted_at(model, name) if isinstance(name, str) else None
        if field is not None and not _filters(field, kind):
            found.append(_error("E015", owner, f"list_filter names {name}", "the database cannot list its values"))
    for name in _paths(model_admin.ordering or ()):
        if encrypted_at(model, name):
            found.append(_error("E016", owner, f"ordering names {name}", "the database cannot order by it"))
    if model_admin.date_hierarchy and encrypted_at(model, model_admin.date_hierarchy):
        found.append(_error("E017", owner, f"date_hierarchy is {model_admin.date_hierarchy}", _COMPUTE))
    for name in model_admin.list_display or ():
        sortable = model_admin.sortable_by is None or name in model_admin.sortable_by
        if isinstance(name, str) and sortable and not hasattr(model_admin, name) and encrypted_at(model, name):
            found.append(
                checks.Warning(
                    f"list_display shows {name}, which is encrypted: a click on its title would order by it and fail",
                    hint="Name the columns that can be sorted by in sortable_by.",
                    obj=owner,
                    id="encrypted_fields.W014",
                )
            )
    return found


def encrypted_at(model: Any, path: str) -> Any:
    """The encrypted field that a path such as "patient__diagnosis__year" comes to, if any."""
    return _walk(model, path)[0]


def _walk(model: Any, path: str) -> tuple[Any, list[str]]:
    parts = path.split(LOOKUP_SEP)
    for number, part in enumerate(parts):
        try:
            field = model._meta.get_field(model._meta.pk.name if part == "pk" else part)
        except FieldDoesNotExist:
            return None, []
        if is_encrypted(field):
            return field, parts[number + 1 :]
        model = getattr(field, "related_model", None)
        if model is None or isinstance(model, str):
            return None, []
    return None, []


def _searched(model: Any, name: str) -> tuple[Any, str]:
    field, rest = _walk(model, name.lstrip("".join(_PREFIXES)))
    return field, LOOKUP_SEP.join(rest) or _PREFIXES.get(name[:1], "icontains")


def _answers(field: Any, lookup: str) -> bool:
    """Whether an index of the field answers it."""
    try:
        found = field.get_lookup(lookup)
    except FieldError:
        return False
    return found is not None and found is not NullOnly


def _filters(field: Any, kind: Any) -> bool:
    from django.contrib.admin import filters

    if kind is not None and not kind.__module__.startswith("django."):
        return True  # the project's own filter knows what it asks
    if kind is not None and issubclass(kind, filters.EmptyFieldListFilter):
        return True  # asks whether it is null
    return bool(field.choices or isinstance(field, models.BooleanField)) and _answers(field, "exact")


def _paths(ordering: Any) -> Iterator[str]:
    for one in ordering:
        if isinstance(one, str):
            yield one.lstrip("-+")
        else:
            yield from _names(one)


def _names(expression: Any) -> Iterator[str]:
    """The paths inside expressions and conditions, without those that are only asked whether they are null."""
    if isinstance(expression, models.F):
        yield str(getattr(expression, "name", ""))
    elif isinstance(expression, models.Q):
        for child in expression.children:
            if isinstance(child, tuple):
                path, value = child
                if not path.endswith("__isnull"):
                    yield path
                yield from _names(value)
            else:
                yield from _names(child)
    elif hasattr(expression, "get_source_expressions"):
        for inner in expression.get_source_expressions():
            yield from _names(inner)


def _uses(model: Any, expression: Any) -> str:
    return ", ".join(sorted({path for path in _names(expression) if encrypted_at(model, path)}))


def _error(code: str, obj: Any, what: str, why: str) -> checks.Error:
    return checks.Error(f"{what}, which is encrypted: {why}", hint="Remove it.", obj=obj, id=f"encrypted_fields.{code}")
