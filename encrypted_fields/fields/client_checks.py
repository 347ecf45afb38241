"""System checks of fields that are sealed in the browser.

E054 recipients is missing or names nothing · E055 tenant_from names nothing
"""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import FieldDoesNotExist

from encrypted_fields.fields.binding import tenant_source


def problems(field: Any) -> list[checks.CheckMessage]:
    found = []
    source = field.recipients
    if not source or (isinstance(source, str) and not hasattr(field.model, source)):
        found.append(
            (
                "E054",
                f"recipients={source!r} is no attribute of the model",
                "Name a method of the row that returns encrypted_fields.Recipient objects, or give a function.",
            )
        )
    tenant = tenant_source(field)
    if isinstance(tenant, str) and not _has(field.model, tenant.split("__")[0]):
        found.append(("E055", f"tenant_from={tenant!r} is no attribute of the model", "Name an attribute of the row."))
    return [
        checks.Error(
            f"{field.name} is sealed in the browser: {text}", hint=hint, obj=field, id=f"encrypted_fields.{code}"
        )
        for code, text, hint in found
    ]


def _has(model: Any, name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return hasattr(model, name) or any(one.attname == name for one in model._meta.concrete_fields)
    return True
