"""Readers of what other packages wrote, for the time of a move: they open, they never write. docs/moving.md.

One file a package; keys come from that package's own settings when the first value is read, never from a migration.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

from django.core.signals import setting_changed
from django.db import models

READERS = {
    "django_cryptography": "encrypted_fields.legacy.django_cryptography",
    "djfernet": "encrypted_fields.legacy.djfernet",
    "encrypted_model_fields": "encrypted_fields.legacy.encrypted_model_fields",
    "fernet_encrypted_fields": "encrypted_fields.legacy.fernet_encrypted_fields",
}


class Reader(Protocol):
    """One package's ciphertext."""

    def read(self, stored: Any, inner: models.Field[Any, Any]) -> Any:
        """The value as `inner` has it. InvalidCiphertext for what the package did not write with these keys."""


@cache
def reader(name: str) -> Reader:
    """ValueError for a package that is not known."""
    if name not in READERS:
        raise ValueError(f"reader={name!r} is not one of {', '.join(sorted(READERS))}")
    return cast(Reader, import_module(READERS[name]).make())


def _forget(**_: Any) -> None:
    reader.cache_clear()


setting_changed.connect(_forget, dispatch_uid="encrypted_fields.legacy")
