"""Uniqueness told before the database refuses, as for plain columns: `validate_unique()`, `validate_constraints()`,
`full_clean()`, forms, formsets and the admin.

Django has no hook for it. Three methods of Model are wrapped once, when the first encrypted field is defined; for a
model without an index they do what they did (ADR 0019).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models

from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.stored import Stored
from encrypted_fields.search.column import IndexColumn
from encrypted_fields.search.ordering import BOUNDS
from encrypted_fields.tenancy import NoTenant, TenantConflict, current_tenant, tenant

Model: Any = models.Model
Together = tuple[str, ...]  # names of fields, as people know them: the indexed fields, not the columns that index them
_OTHERWISE = {"in", *BOUNDS}  # what an index answers beside equality
_unique_checks, _perform, _constraints = (
    Model._get_unique_checks,
    Model._perform_unique_checks,
    Model.validate_constraints,
)


def install() -> None:
    """Does nothing the second time."""
    Model._get_unique_checks = _get_unique_checks
    Model._perform_unique_checks = _perform_unique_checks
    Model.validate_constraints = _validate_constraints


def unique_sets(model: type[models.Model], *, constraints: bool = False) -> dict[Together, list[Any]]:
    """What this model's own table holds once in a tenant → the columns to ask. With `constraints`, Meta.constraints'
    too."""
    found: dict[Together, list[Any]] = {
        tuple(column.sources): [column]
        for column in model._meta.local_fields
        if isinstance(column, IndexColumn) and column.index.unique and not column.slot
    }
    declared: list[Any] = [*model._meta.unique_together]
    if constraints:
        declared += [one.fields for one in _of_indexes(model)]
    for names in declared:
        columns = [model._meta.get_field(name) for name in names]
        if any(isinstance(one, IndexColumn) for one in columns):
            found[_known(columns)] = columns
    return found


def is_duplicate(instance: models.Model, model: type[models.Model], columns: Collection[Any]) -> bool:
    """Whether another row of the tenant has what this one has. False where the tenant is not known yet, or a value is
    NULL, locked or as it was loaded: then only the database can tell, or there is nothing to tell."""
    asked: dict[str, Any] = {}
    indexes = [one for one in columns if isinstance(one, IndexColumn)]
    whose = _whose(indexes[0].binding, instance)
    if whose is None or (len(indexes) == len(columns) and all(_as_loaded(one, instance) for one in indexes)):
        return False
    for column in columns:
        fields = column.fields if column in indexes else [column]
        values = [getattr(instance, one.attname) for one in fields]
        if any(one is None or isinstance(one, Locked | Stored) for one in values):
            return False
        several = len(values) > 1
        name = column.name if several else fields[0].name
        if column in indexes:
            (equal,) = column.index.lookups - _OTHERWISE or {""}
            if not equal:
                return False  # an order-revealing index answers no equality
            name = f"{name}__{equal}"
        asked[name] = values if several else values[0]
    if any(field.state is not None for one in indexes for field in one.fields):
        # the column in clear that is asked as well knows no tenants (docs/moving.md)
        path = indexes[0].binding.tenant_from
        if not isinstance(path, str):
            return False
        asked[path] = whose
    others = model._default_manager.using(instance._state.db).filter(**asked)
    if not instance._state.adding:
        others = others.exclude(pk=instance._get_pk_val(model._meta))
    with tenant(whose):
        return others.exists()


def _get_unique_checks(self: Any, exclude: Any = None, include_meta_constraints: bool = False) -> Any:
    """The indexed fields in the place of their columns."""
    checks, dates = _unique_checks(self, exclude, include_meta_constraints)
    ours = [(model, names) for model, sets in _sets_of(self, include_meta_constraints) for names in sets]
    if ours:
        checks = [(model, names) for model, names in checks if not _has_index(model, names)]
    return [*checks, *((model, names) for model, names in ours if not {*names} & {*(exclude or ())})], dates


def _perform_unique_checks(self: Any, unique_checks: Any) -> Any:
    ours = {(model, names): columns for model, sets in _sets_of(self, True) for names, columns in sets.items()}
    errors = _perform(self, [one for one in unique_checks if (one[0], tuple(one[1])) not in ours])
    for model, names in unique_checks:
        columns = ours.get((model, tuple(names)))
        if columns and is_duplicate(self, model, columns):
            key = names[0] if len(names) == 1 else NON_FIELD_ERRORS
            errors.setdefault(key, []).append(self.unique_error_message(model, names))
    return errors


def _validate_constraints(self: Any, exclude: Any = None) -> None:
    errors: dict[str, Any] = {}
    try:
        _constraints(self, exclude=exclude)
    except ValidationError as error:
        errors = error.update_error_dict(errors)
    for model in (type(self), *self._meta.all_parents):
        for one in _of_indexes(model):
            columns = [model._meta.get_field(name) for name in one.fields]
            names = _known(columns)
            if {*names} & {*(exclude or ())} or not is_duplicate(self, model, columns):
                continue
            told = self.unique_error_message(model, names)
            if one.violation_error_message != one.default_violation_error_message:
                told = ValidationError(one.get_violation_error_message(), code=one.violation_error_code)
            errors.setdefault(names[0] if len(names) == 1 else NON_FIELD_ERRORS, []).append(told)
    if errors:
        raise ValidationError(errors)


def _sets_of(instance: models.Model, constraints: bool) -> Iterator[tuple[type[models.Model], dict[Together, Any]]]:
    for model in (type(instance), *instance._meta.all_parents):
        found = unique_sets(model, constraints=constraints)
        if found:
            yield model, found


def _of_indexes(model: type[models.Model]) -> list[models.UniqueConstraint]:
    """Its unique constraints over index columns. One with a condition is the database's alone."""
    return [
        one
        for one in model._meta.constraints
        if isinstance(one, models.UniqueConstraint) and one.condition is None and _has_index(model, one.fields)
    ]


def _has_index(model: type[models.Model], names: Any) -> bool:
    return any(isinstance(model._meta.get_field(name), IndexColumn) for name in names)


def _known(columns: Collection[Any]) -> Together:
    return tuple(name for one in columns for name in (one.sources if isinstance(one, IndexColumn) else [one.name]))


def _whose(binding: Any, instance: models.Model) -> str | None:
    """The row's tenant; the active one while the row has none, since it can get no other."""
    try:
        found: str = binding.tenant_of(instance)
    except TenantConflict:
        return None  # refused when it is saved
    except (NoTenant, AttributeError, models.ObjectDoesNotExist):
        return current_tenant()
    return found


def _as_loaded(column: IndexColumn, instance: models.Model) -> bool:
    """The database has let these values in already."""
    if instance._state.adding:
        return False
    held = [(field, instance.__dict__.get(field.attname)) for field in column.fields]
    return all(isinstance(value, Sealed) and value.is_at(field, instance) for field, value in held)
