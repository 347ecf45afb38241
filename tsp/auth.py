"""Who may call the data plane: one API key, or two while it is rotated. Held hashed, compared in constant time."""

from __future__ import annotations

import hmac
import os
from hashlib import sha256

from encrypted_fields.core.errors import Unauthorized

_PREFIX = b"cmk "
_LONGEST = 1024


class ApiKeys:
    """The accepted keys. `check` takes the raw Authorization header; both keys are always compared (T-14)."""

    __slots__ = ("_first", "_second")

    def __init__(self, key: str, second: str = "") -> None:
        if not key:
            raise ValueError("TSP_API_KEY is empty: without it everybody could ask for keys")
        self._first = _digest(key.encode())
        self._second = _digest(second.encode()) if second else os.urandom(32)

    def check(self, header: bytes | None) -> None:
        """Unauthorized unless `header` is exactly `cmk ` and an accepted key; the scheme is case-sensitive."""
        given = header or b""
        shaped = given.startswith(_PREFIX) and len(given) <= _LONGEST
        found = _digest(given[len(_PREFIX) :] if shaped else b"")
        first, second = hmac.compare_digest(found, self._first), hmac.compare_digest(found, self._second)
        if not (first | second) & shaped:
            raise Unauthorized

    def __repr__(self) -> str:
        return "<ApiKeys>"


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
