"""Fernet tokens (github.com/fernet/spec) under the keys of other packages: authenticated, opened, never written."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models

from encrypted_fields.core.errors import InvalidCiphertext


class FernetReader:
    """Text or bytes that hold one token; what is inside is the value as text."""

    def __init__(self, keys: Sequence[bytes | str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def read(self, stored: Any, inner: models.Field[Any, Any]) -> Any:
        return as_value(self.text(stored), inner)

    def text(self, stored: Any) -> str:
        return self.open(stored).decode("utf-8", "strict")

    def open(self, stored: Any) -> bytes:
        """InvalidCiphertext for anything that these keys did not seal, a value in clear too."""
        token = stored.encode() if isinstance(stored, str) else bytes(stored)
        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            pass
        raise InvalidCiphertext  # outside the except block, so that no cause rides along


def as_value(text: str, inner: models.Field[Any, Any]) -> Any:
    """What the inner field makes of text. InvalidCiphertext, without the text, for what does not fit it."""
    try:
        value = inner.to_python(text)
    except (ValidationError, ValueError, TypeError):
        value = None
    if value is None:
        raise InvalidCiphertext
    if isinstance(inner, models.DateTimeField) and settings.USE_TZ and value.tzinfo is None:
        return value.replace(tzinfo=datetime.UTC)  # as Django writes moments where the database has no time zones
    return value


def setting(name: str) -> Any:
    """A setting of the other package. ImproperlyConfigured when it is gone."""
    found = getattr(settings, name, None)
    if not found:
        raise ImproperlyConfigured(
            f"{name} is needed as long as its ciphertext is read: it was the other package's key"
        )
    return found


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def fernet_key(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw)
