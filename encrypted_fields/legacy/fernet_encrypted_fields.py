"""django-fernet-encrypted-fields 0.4 (whose module is called encrypted_fields, too): a Fernet token in a text column.

Keys: PBKDF2-SHA256, 100,000 rounds, of SECRET_KEY and SECRET_KEY_FALLBACKS with each SALT_KEY. A JSON column holds the
structure in clear and one token for each leaf, which comes back as text: the package did not keep its type.
"""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from django.conf import settings
from django.db import models

from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.legacy.fernet import FernetReader, fernet_key, listed, setting

ROUNDS = 100_000


class _Reader(FernetReader):
    def read(self, stored: Any, inner: models.Field[Any, Any]) -> Any:
        return self._leaves(_parsed(stored)) if isinstance(inner, models.JSONField) else super().read(stored, inner)

    def _leaves(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._leaves(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._leaves(one) for one in value]
        if not isinstance(value, str):
            raise InvalidCiphertext
        return self.text(value)


def _parsed(stored: Any) -> Any:
    if not isinstance(stored, str | bytes):
        return stored  # the driver has parsed it
    try:
        return json.loads(stored)
    except ValueError:
        pass
    raise InvalidCiphertext


def make() -> FernetReader:
    secrets = [setting("SECRET_KEY"), *getattr(settings, "SECRET_KEY_FALLBACKS", [])]
    return _Reader([_derived(secret, salt) for secret in secrets for salt in listed(setting("SALT_KEY"))])


def _derived(secret: str, salt: str) -> bytes:
    return fernet_key(PBKDF2HMAC(SHA256(), 32, salt.encode(), ROUNDS).derive(secret.encode()))
