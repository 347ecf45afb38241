"""django-encrypted-model-fields 0.6: a Fernet token in a text column, keys in FIELD_ENCRYPTION_KEY."""

from __future__ import annotations

from encrypted_fields.legacy.fernet import FernetReader, listed, setting


def make() -> FernetReader:
    return FernetReader(listed(setting("FIELD_ENCRYPTION_KEY")))
