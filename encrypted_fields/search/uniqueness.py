"""Uniqueness told before the database refuses: in forms, the admin and `full_clean()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.text import capfirst, get_text_list
from django.utils.translation import gettext_lazy as _

from encrypted_fields.fields.sealed import Locked
from encrypted_fields.tenancy import NoTenant, TenantConflict, tenant

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField
    from encrypted_fields.search.column import IndexColumn


def refuse_duplicate(field: EncryptedField[Any, Any], value: Any, instance: models.Model) -> None:
    """ValidationError, in the words of a plain unique field, when another row of the tenant has this value.

    An index over several fields is asked at the last of them. Where the tenant is not known yet, only the database can
    tell.
    """
    for column in field.index_columns:
        if not column.index.unique or column.slot or max(column.fields) is not field:
            continue
        values = [value if one is field else getattr(instance, one.attname) for one in column.fields]
        if any(one is None or isinstance(one, Locked) for one in values):
            continue
        try:
            whose = column.binding.tenant_of(instance)
        except (NoTenant, TenantConflict, AttributeError, models.ObjectDoesNotExist):
            continue
        if _taken(column, values, whose, instance):
            raise _error(column, instance)


def _taken(column: IndexColumn, values: list[Any], whose: str, instance: models.Model) -> bool:
    several = len(values) > 1
    asked = f"{column.name if several else column.sources[0]}__{min(column.index.lookups)}"
    others = column.model._default_manager.using(instance._state.db).filter(**{asked: values if several else values[0]})
    if instance.pk is not None and not instance._state.adding:
        others = others.exclude(pk=instance.pk)
    with tenant(whose):
        return others.exists()


def _error(column: IndexColumn, instance: models.Model) -> ValidationError:
    names: dict[str, Any] = {
        "model": instance,
        "model_class": column.model,
        "model_name": capfirst(column.model._meta.verbose_name),
        "unique_check": tuple(column.sources),
    }
    labels = [capfirst(one.verbose_name) for one in column.fields]
    if len(labels) == 1:
        message, names["field_label"] = column.fields[0].error_messages["unique"], labels[0]
        return ValidationError(message, code="unique", params=names)
    names["field_labels"] = get_text_list(labels, _("and"))
    message = _("%(model_name)s with this %(field_labels)s already exists.")
    return ValidationError(message, code="unique_together", params=names)
