"""System checks that warn: W060 values() shows what should be left out · W061 `__str__` shows an encrypted value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField


def warnings(field: EncryptedField[Any, Any]) -> list[checks.CheckMessage]:
    from encrypted_fields.omitting import OmitLocked

    found: list[checks.CheckMessage] = []
    manager = field.model._meta.default_manager
    if field.on_locked == "omit" and manager is not None and not isinstance(manager.get_queryset(), OmitLocked):
        found.append(
            checks.Warning(
                f"{field.name} is to be left out when it is locked, but values() of its model show it as Locked",
                hint="objects = OmitLocked.as_manager(), or omit_locked(…) around values().",
                obj=field,
                id="encrypted_fields.W060",
            )
        )
    code = getattr(field.model.__str__, "__code__", None)
    if code is not None and field.name in code.co_names:
        found.append(
            checks.Warning(
                f"__str__ reads {field.name}, which is encrypted: it shows in the admin, its history and error mails",
                hint="Name the row by something that is in clear.",
                obj=field,
                id="encrypted_fields.W061",
            )
        )
    return found
