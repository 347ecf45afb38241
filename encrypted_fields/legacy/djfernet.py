"""djfernet 0.8 and django-fernet-fields: a Fernet token in a binary column.

Keys from FERNET_KEYS, else SECRET_KEY, through HKDF-SHA256 unless FERNET_USE_HKDF is False; DJFERNET_PREFIX names it.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models

from encrypted_fields.legacy.fernet import FernetReader, fernet_key, listed, setting


class _Reader(FernetReader):
    def read(self, stored: Any, inner: models.Field[Any, Any]) -> Any:
        return self.open(stored) if isinstance(inner, models.BinaryField) else super().read(stored, inner)


def make() -> FernetReader:
    keys = listed(getattr(settings, "FERNET_KEYS", None) or setting("SECRET_KEY"))
    if not getattr(settings, "FERNET_USE_HKDF", True):
        return _Reader(keys)
    return _Reader([_derived(key) for key in keys])


def _derived(key: str | bytes) -> bytes:
    prefix = getattr(settings, "DJFERNET_PREFIX", b"django-fernet-fields")
    raw = key.encode() if isinstance(key, str) else key
    return fernet_key(HKDF(SHA256(), 32, prefix + b"-hkdf-salt", prefix).derive(raw))
