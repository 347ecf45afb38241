"""django-cryptography 1.1 and django-cryptography-5 2.0: a pickle under AES-CBC and HMAC-SHA256 in a binary column.

    0x80 ‖ u64 BE time ‖ IV(16) ‖ AES-256-CBC, PKCS#7 ‖ HMAC-SHA256 of all before

Key: PBKDF2-SHA256, 30,000 rounds, of CRYPTOGRAPHY_KEY (else SECRET_KEY) with CRYPTOGRAPHY_SALT. The HMAC's key is
always SECRET_KEY. A field of its own `key=` is not read. What the tag proves is unpickled by a reader that
makes plain values and nothing else: whoever knew SECRET_KEY could have forged the tag.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7
from django.conf import settings
from django.db import models

from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.legacy.fernet import setting

ROUNDS = 30_000
_HEAD, _IV, _TAG, _BLOCK = 9, 16, 32, 16
_PLAIN = {
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("decimal", "Decimal"),
    ("uuid", "UUID"),
    ("uuid", "SafeUUID"),
}


class CryptographyReader:
    """Opens what the package wrote with the project's own key."""

    def __init__(self, key: bytes, signing_key: bytes) -> None:
        self._key, self._signing_key = key, signing_key

    def read(self, stored: Any, inner: models.Field[Any, Any]) -> Any:
        return unpickled(self.open(bytes(stored)))

    def open(self, data: bytes) -> bytes:
        """The pickle. InvalidCiphertext unless the tag is right; nothing is decrypted before."""
        body = data[_HEAD + _IV : -_TAG]
        if data[:1] != b"\x80" or len(body) < _BLOCK or len(body) % _BLOCK:
            raise InvalidCiphertext
        mac = HMAC(self._signing_key, SHA256())
        mac.update(data[:-_TAG])
        genuine = True
        try:
            mac.verify(data[-_TAG:])
        except InvalidSignature:
            genuine = False
        if not genuine:
            raise InvalidCiphertext
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(data[_HEAD : _HEAD + _IV])).decryptor()
        padded = decryptor.update(body) + decryptor.finalize()
        unpadder = PKCS7(_BLOCK * 8).unpadder()
        try:
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError:
            pass
        raise InvalidCiphertext


class _Unpickler(pickle.Unpickler):
    """Plain values: text, numbers, bytes, dates, decimals, UUIDs, and lists and dictionaries of these."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError("not a plain value")
        return super().find_class(module, name)


def unpickled(data: bytes) -> Any:
    """InvalidCiphertext for a pickle that asks for anything but plain values."""
    source = io.BytesIO(data)
    try:
        value = _Unpickler(source, buffers=()).load()
        if not source.read(1):
            return value
    except Exception:  # noqa: S110 - a pickle can fail in every way; none of them is told
        pass
    raise InvalidCiphertext


def make() -> CryptographyReader:
    secret = setting("SECRET_KEY").encode()
    salt = getattr(settings, "CRYPTOGRAPHY_SALT", "django-cryptography")
    source = getattr(settings, "CRYPTOGRAPHY_KEY", None) or secret
    key = PBKDF2HMAC(SHA256(), 32, _bytes(salt), ROUNDS).derive(_bytes(source))
    return CryptographyReader(key, secret)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
