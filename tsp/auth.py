"""Who may call the data plane: one API key, or two while it is rotated, and keys with less power from a file.

Held hashed, compared in constant time.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from encrypted_fields.core.errors import Unauthorized

_PREFIX = b"cmk "
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it was, and what it is good for; None is everything. `operations` are those of tsp.guard."""

    name: str
    tenants: frozenset[str] | None = None
    operations: frozenset[str] | None = None


FIRST, SECOND = Caller("TSP_API_KEY"), Caller("TSP_API_KEY_2")


class Scoped(Protocol):
    """Keys that are good for some tenants or operations only."""

    def find(self, digest: bytes) -> Caller | None:
        """Whose the key with this SHA-256 is."""
        ...


class ApiKeys:
    """The accepted keys. `check` takes the raw Authorization header; both keys are always compared (T-14)."""

    __slots__ = ("_first", "_scoped", "_second")

    def __init__(self, key: str, second: str = "", scoped: Scoped | None = None) -> None:
        if not key:
            raise ValueError("TSP_API_KEY is empty: without it everybody could ask for keys")
        self._first = _digest(_PREFIX + key.encode())
        self._second = _digest(_PREFIX + second.encode()) if second else os.urandom(32)
        self._scoped = scoped

    def check(self, header: bytes | None) -> Caller:
        """Whose key it is. Unauthorized unless `header` is exactly `cmk `, in this case, and an accepted key."""
        if header is None or len(header) > _LONGEST:
            raise Unauthorized
        found = _digest(header)
        first, second = hmac.compare_digest(found, self._first), hmac.compare_digest(found, self._second)
        if first | second:
            return FIRST if first else SECOND
        if self._scoped is not None and header.startswith(_PREFIX):
            caller = self._scoped.find(_digest(header[len(_PREFIX) :]))
            if caller is not None:
                return caller
        raise Unauthorized

    def __repr__(self) -> str:
        return "<ApiKeys>"


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
