"""System checks of one encrypted file field, and of how uploads arrive.

E050 bind_row without a key made in Python · E051 tenant_from or url_from names nothing · E052 unused is no policy ·
E053 max_length is too short for fresh names · W050 (deploy) large uploads lie on disk in clear while they are received
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import models

from encrypted_fields.fields.binding import pk_is_client_made, tenant_source

TEMPORARY = "django.core.files.uploadhandler.TemporaryFileUploadHandler"


def problems(field: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(f"{field.name} is encrypted: {text}", hint=hint, obj=field, id=f"encrypted_fields.{code}")
        for code, text, hint in _of_field(field)
    ]


def _of_field(field: Any) -> list[tuple[str, str, str]]:
    found = []
    if field.bind_row and not hasattr(field, "recipients") and not pk_is_client_made(field.model._meta.pk):
        text = "bind_row=True needs a primary key that is known before the row is inserted"
        found.append(("E050", text, "Use a UUIDField with default=uuid.uuid4 as primary key, or leave bind_row out."))
    for option, source in (("tenant_from", tenant_source(field)), ("url_from", field.url_from)):
        if isinstance(source, str) and not _names_something(field.model, source.split("__")[0]):
            found.append(("E051", f"{option}={source!r} is no attribute of the model", "Name an attribute of the row."))
    if field.unused not in ("keep", "delete"):
        found.append(("E052", f"unused={field.unused!r} is no policy", 'Use "keep" or "delete".'))
    folder = len(field.upload_to) + 1 if isinstance(field.upload_to, str) else 0
    least = 32 if field.private_names else 30
    if field.max_length is not None and field.max_length < folder + least:
        hint = f"max_length={folder + least} or more: the stored name holds random characters."
        found.append(("E053", f"max_length={field.max_length} is too short for a fresh name", hint))
    return found


def _names_something(model: type[models.Model], name: str) -> bool:
    names = {name for one in model._meta.fields for name in (one.name, one.attname)}
    return name in names or hasattr(model, name)


@checks.register(checks.Tags.security, deploy=True)
def check_uploads(**_: Any) -> list[checks.CheckMessage]:
    """Only for a project that keeps encrypted files."""
    fields = [field for model in apps.get_models() for field in model._meta.local_fields]
    kept = any(getattr(field, "private_names", None) is not None for field in fields)
    if not kept or TEMPORARY not in settings.FILE_UPLOAD_HANDLERS:
        return []
    return [
        checks.Warning(
            "uploads above FILE_UPLOAD_MAX_MEMORY_SIZE lie on disk in clear while they are received",
            hint=f"In FILE_UPLOAD_HANDLERS, put encrypted_fields.uploads.SealedUploadHandler for {TEMPORARY}.",
            id="encrypted_fields.W050",
        )
    ]
