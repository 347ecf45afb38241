"""Deterministic fields: the same value gives the same bytes, so that a database can look for it. AES-SIV, RFC 5297.

    u32 BE number of the tenant secret ‖ 00 00 ‖ AES-256-SIV(derived key(64), value)

Two dialects that do not read each other: alloy passes one empty associated-data string, the Node and Java clients
pass none, and SIV tells these apart. Equal values are visible as equal; the docs say what that gives away.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from encrypted_fields import client
from encrypted_fields.core.errors import InvalidCiphertext, NoPrimaryKms
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import Derived, DerivedKey, Metadata
from encrypted_fields.documents import service
from encrypted_fields.documents.key import MAX_VALUE, Data
from encrypted_fields.documents.threads import in_thread

T = TypeVar("T")
KIND = "deterministic"
_HEAD = 6
_TAG = 16
_TYPE = b"\x00\x00"


class Dialect(enum.Enum):
    ALLOY = "alloy"
    TSC = "tsc"  # the Node and Java clients


_AD: dict[Dialect, list[bytes] | None] = {Dialect.ALLOY: [b""], Dialect.TSC: None}


@dataclass(frozen=True, slots=True)
class Path:
    """`secret` chooses the tenant's secret, `derivation` the key made of it: usually one for each column."""

    secret: str
    derivation: str


def encrypt(value: Data, path: Path, metadata: Metadata, *, dialect: Dialect = Dialect.ALLOY) -> bytes:
    """`value` under the current key of `path`. NoPrimaryKms when the tenant has no primary key configuration."""
    _check(value)
    derived = _derive(path, metadata)
    return _used(derived, path, lambda keys: _sealed(value, _current(derived, keys), dialect))


def decrypt(data: Data, path: Path, metadata: Metadata, *, dialect: Dialect = Dialect.ALLOY) -> bytes:
    """The value. InvalidCiphertext for other bytes, another path, tenant or dialect, and when the key is archived."""
    number = _number(data)
    return _used(_derive(path, metadata), path, lambda keys: _opened(data, _numbered(keys, number), dialect))


def search_terms(value: Data, path: Path, metadata: Metadata, *, dialect: Dialect = Dialect.ALLOY) -> list[bytes]:
    """All forms in which `value` may be stored: one for each key that is current or in rotation, current first."""
    _check(value)
    return _used(_derive(path, metadata), path, lambda keys: [_sealed(value, key, dialect) for key in keys])


def rotate(data: Data, path: Path, metadata: Metadata, *, dialect: Dialect = Dialect.ALLOY) -> bytes:
    """The value under the current key; the very same bytes when it is there already."""
    number = _number(data)
    derived = _derive(path, metadata)

    def turned(keys: Sequence[DerivedKey]) -> bytes:
        value = _opened(data, _numbered(keys, number), dialect)
        return _sealed(value, _current(derived, keys), dialect)

    return _used(derived, path, turned)


def _derive(path: Path, metadata: Metadata) -> Derived:
    found = client.current()
    if not isinstance(found, service.Derives):
        raise TypeError("the installed key service does not derive keys")
    return found.derive(service.checked(metadata), {path.secret: [path.derivation]}, KIND)


def _used(derived: Derived, path: Path, use: Callable[[Sequence[DerivedKey]], T]) -> T:
    keys = derived.keys[path.secret][path.derivation]
    try:
        return use(keys)
    finally:
        for key in keys:
            wipe(key.key)


def _current(derived: Derived, keys: Sequence[DerivedKey]) -> DerivedKey:
    if not derived.has_primary:
        raise NoPrimaryKms
    return keys[0]


def _numbered(keys: Sequence[DerivedKey], number: int) -> DerivedKey:
    for key in keys:
        if key.secret == number:
            return key
    raise InvalidCiphertext


def _sealed(value: Data, key: DerivedKey, dialect: Dialect) -> bytes:
    return key.secret.to_bytes(4, "big") + _TYPE + AESSIV(bytes(key.key)).encrypt(bytes(value), _AD[dialect])


def _opened(data: Data, key: DerivedKey, dialect: Dialect) -> bytes:
    try:
        return AESSIV(bytes(key.key)).decrypt(bytes(data[_HEAD:]), _AD[dialect])
    except InvalidTag:
        pass
    raise InvalidCiphertext


def _number(data: Data) -> int:
    """The secret's number in a stored field; InvalidCiphertext for another shape."""
    number = int.from_bytes(bytes(data[:4]), "big")
    if len(data) < _HEAD + _TAG or bytes(data[4:_HEAD]) != _TYPE or not number:
        raise InvalidCiphertext
    if len(data) > MAX_VALUE:
        raise InvalidCiphertext
    return number


def _check(value: Data) -> None:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("a deterministic field is bytes: encode text first")
    if len(value) > MAX_VALUE:
        raise ValueError("a deterministic field is shorter than 2 GiB")


aencrypt = in_thread(encrypt)
adecrypt = in_thread(decrypt)
asearch_terms = in_thread(search_terms)
arotate = in_thread(rotate)
