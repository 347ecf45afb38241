"""Wrapped keys as they travel (EDEKs): our versioned, committed, tenant-bound content in the wire API's protobuf.

Format: docs/formats.md. Two contents, told apart by their second byte:

    direct   01 ‖ 01 ‖ commit(32) ‖ blob of the key service
    leased   01 ‖ 02 ‖ salt(16) ‖ commit(32) ‖ ciphertext(32) ‖ tag(16)

Clients rewrite the protobuf around a content (they add the tenant), so nothing here depends on the outer bytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from encrypted_fields.core import protobuf
from encrypted_fields.core.context import KeyContext, canonical
from encrypted_fields.core.errors import InvalidEdek, KmsConfigDisabled, KmsUnwrapFailed
from encrypted_fields.core.fresh import fresh
from encrypted_fields.core.protocol import DEK_BYTES, MAX_EDEK
from tsp.kms.base import MAX_BLOB

MAX_CONFIG = 2**31 - 1
Key = bytes | bytearray | memoryview
_DIRECT, _LEASED = b"\x01\x01", b"\x01\x02"
_SALT, _COMMIT, _KEY, _NONCE, _TAG = 16, 32, 32, 12, 16
_DIRECT_HEAD = len(_DIRECT) + _COMMIT
_LEASED_SIZE = len(_LEASED) + _SALT + _COMMIT + DEK_BYTES + _TAG
_CONTENT = 5  # where a leased content starts: behind a tag, a length of two bytes, and its own tag and length
_LEASED_START, _LEASED_END = bytes((1 << 3 | 2, _LEASED_SIZE)) + _LEASED, _CONTENT + _LEASED_SIZE
_NO_CONTENT = _LEASED + bytes(_LEASED_SIZE - len(_LEASED))
_SHA256 = SHA256()
_ZEROS = bytes(DEK_BYTES)
_COMMITS, _DERIVED = _KEY + _NONCE, _KEY + _NONCE + _COMMIT  # in what is derived: key, nonce, commitment
_SALTED, _SALTED_END, _SEALED = len(_LEASED), len(_LEASED) + _SALT, len(_LEASED) + _SALT + _COMMIT


class Edek(Struct, frozen=True):
    """One parsed EDEK. `elek` is the direct content of its leased key, or None; `digest` is that content's SHA-256."""

    config: int
    content: bytes
    elek: bytes | None = None
    digest: bytes = b""


def parse(data: bytes, tenant: str) -> Edek:
    """The one EncryptedDek in `data`. InvalidEdek for what we did not write; KmsConfigDisabled for another tenant's.

    Strict on purpose: one element, no unknown or repeated member, so that there is one reading of every EDEK.
    """
    if data[3:7] == _LEASED_START and data[1] > 0x7F >= data[2] and len(data) >= _LEASED_END:
        # as everybody writes it: the content comes first, and the rest is the same in all EDEKs of one leased key
        frame = _parse_frame(data[:_CONTENT] + _NO_CONTENT + data[_LEASED_END:], tenant)
        return Edek(frame.config, data[_CONTENT:_LEASED_END], frame.elek, frame.digest)
    return _parse(data, tenant)


def split(data: bytes) -> tuple[bytes, bytes]:
    """(what all EDEKs of one leased key have in common, the content), if `data` looks as everybody writes it.

    For those of a batch that begin as one that `parse` has read: the content is all that differs. Else two empty ones.
    """
    if data[3:7] == _LEASED_START and data[1] > 0x7F >= data[2] and len(data) >= _LEASED_END:
        return data[:_CONTENT] + data[_LEASED_END:], data[_CONTENT:_LEASED_END]
    return b"", b""


@lru_cache(4096)  # a tenant's EDEKs share a handful of leased keys; only the parsing is remembered, never a key
def _parse_frame(data: bytes, tenant: str) -> Edek:
    return _parse(data, tenant)


def _parse(data: bytes, tenant: str) -> Edek:
    config, content, lease_id, nested, named = _parse_one(data)
    if named is not None and named != tenant.encode():
        raise KmsConfigDisabled
    if content[:2] == _DIRECT:
        if nested is not None or lease_id or not _DIRECT_HEAD < len(content) <= _DIRECT_HEAD + MAX_BLOB:
            raise InvalidEdek
        return Edek(config, content)
    if content[:2] != _LEASED or len(content) != _LEASED_SIZE or nested is None:
        raise InvalidEdek
    inner, elek, digest = _parse_elek(nested)
    if inner != config or lease_id != leased_key_id(digest):
        raise InvalidEdek
    return Edek(config, content, elek, digest)


def serialize(config: int, content: bytes, tail: bytes = b"") -> bytes:
    """The `EncryptedDeks` of one content, with the members of `tail` after it. Clients add the tenant."""
    if not 0 < config <= MAX_CONFIG:
        raise ValueError("a KMS configuration has a number from 1 to 2147483647")  # 0 would encrypt and never decrypt
    return protobuf.length(1, protobuf.length(1, content) + protobuf.varint(2, config) + tail)


def leased_frame(config: int, elek: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the content in every EDEK of one leased key; its parts never change their length."""
    tail = protobuf.varint(3, leased_key_id(sha256(elek).digest())) + protobuf.length(5, serialize(config, elek))
    whole = serialize(config, bytes(_LEASED_SIZE), tail)
    end = len(whole) - len(protobuf.varint(2, config)) - len(tail)
    return whole[: end - _LEASED_SIZE], whole[end:]


def leased_key_id(digest: bytes) -> int:
    """A number from 1 to 2^31-1 made of the ELEK's digest."""
    return int.from_bytes(digest[:4], "big") & 0x7FFF_FFFF or 1


def direct(key: Key, context: KeyContext, blob: bytes) -> bytes:
    """The content of a key that the key service wrapped as `blob`."""
    return _DIRECT + _commit(key, context) + blob


def blob_of(content: bytes) -> bytes:
    """The key service's own bytes of a direct content. InvalidEdek if it is not one."""
    if content[:2] != _DIRECT or not _DIRECT_HEAD < len(content) <= _DIRECT_HEAD + MAX_BLOB:
        raise InvalidEdek
    return content[_DIRECT_HEAD:]


def check_direct(content: bytes, key: Key, context: KeyContext) -> None:
    """KmsUnwrapFailed unless `key` is the one that `content` was made of, for this very context (T-19)."""
    if not hmac.compare_digest(content[len(_DIRECT) : _DIRECT_HEAD], _commit(key, context)):
        raise KmsUnwrapFailed


def lease_info(vendor: str, tenant: str, config: int, digest: bytes, place: str = "") -> bytes:
    """What a leased wrap is bound to. The same bytes are the HKDF's info and the AES-GCM's associated data.

    `place` is that of a tenant secret; a DEK has none, so neither opens as the other.
    """
    bound = ("secret", place) if place else ()
    parts = [part.encode() for part in (vendor, tenant, str(config))]
    return canonical("cmk/edek/lease/1", *parts, digest, *[part.encode() for part in bound])


def seal_leased(lek: Key, info: bytes, dek: Key) -> bytes:
    """A leased content: `dek` under a key derived for this one wrap (no nonce limit), committed (no second opening)."""
    return seal_many(lek, info, [dek])[0]


def seal_many(lek: Key, info: bytes, deks: Sequence[Key]) -> list[bytes]:
    """`seal_leased` for each of `deks`; each step for all of them, so that its code stays in the processor's cache.

    ValueError for zeros: that is no key, but one that was wiped.
    """
    if _ZEROS in deks:
        raise ValueError("a key of zeros is none: it was wiped before it was wrapped")
    drawn = fresh(_SALT * len(deks))
    salts = [drawn[at : at + _SALT] for at in range(0, len(drawn), _SALT)]
    derived = [HKDF(_SHA256, _DERIVED, salt, info).derive(lek) for salt in salts]
    sealed = [
        AESGCM(keys[:_KEY]).encrypt(keys[_KEY:_COMMITS], dek, info) for keys, dek in zip(derived, deks, strict=True)
    ]
    return [
        b"".join((_LEASED, salt, keys[_COMMITS:], one)) for salt, keys, one in zip(salts, derived, sealed, strict=True)
    ]


def open_leased(lek: Key, info: bytes, content: bytes) -> bytes:
    """The data key in a leased content. KmsUnwrapFailed for any other key, info or byte; the commitment comes first."""
    if content[:2] != _LEASED or len(content) != _LEASED_SIZE:
        raise InvalidEdek
    key = open_many(lek, info, [content])[0]
    if key is None:
        raise KmsUnwrapFailed
    return key


def open_many(lek: Key, info: bytes, contents: Sequence[bytes]) -> list[bytes | None]:
    """`open_leased` for each of `contents`, which all are leased ones; None where that fails."""
    derived = [HKDF(_SHA256, _DERIVED, content[_SALTED:_SALTED_END], info).derive(lek) for content in contents]
    return [_opened(keys, info, content) for keys, content in zip(derived, contents, strict=True)]


def _opened(keys: bytes, info: bytes, content: bytes) -> bytes | None:
    if hmac.compare_digest(content[_SALTED_END:_SEALED], keys[_COMMITS:]):
        try:
            return AESGCM(keys[:_KEY]).decrypt(keys[_KEY:_COMMITS], content[_SEALED:], info)
        except InvalidTag:
            pass
    return None


def fingerprint(content: bytes) -> str:
    """16 hex digits that tell wrapped keys apart in the audit trail and open nothing."""
    return sha256(content).hexdigest()[:16]


def _commit(key: Key, context: KeyContext) -> bytes:
    return hmac.digest(key, canonical("cmk/edek/commit/1", *context.parts()), "sha256")


@lru_cache(4096)  # a tenant's EDEKs share a handful of leased keys; only the parsing is remembered, never a key
def _parse_elek(nested: bytes) -> tuple[int, bytes, bytes]:
    config, elek, lease_id, further, named = _parse_one(nested)
    if lease_id or further is not None or named is not None:
        raise InvalidEdek
    blob_of(elek)
    return config, elek, sha256(elek).digest()


def _parse_one(data: bytes) -> tuple[int, bytes, int, bytes | None, bytes | None]:
    if len(data) > MAX_EDEK:
        raise InvalidEdek
    try:
        outer = list(protobuf.fields(data))
        element = outer[0][1] if len(outer) == 1 and outer[0][0] == 1 else None
        members = list(protobuf.fields(element)) if isinstance(element, bytes) else []
    except protobuf.ProtobufError:
        members = []
    found = dict(members)
    config, content, lease_id = found.get(2), found.get(1), found.get(3, 0)
    iv, nested, named = found.get(4, b""), found.get(5), found.get(6)
    if (
        len(found) != len(members)
        or not found.keys() <= {1, 2, 3, 4, 5, 6}
        or not (isinstance(config, int) and 0 < config <= MAX_CONFIG)
        or not (isinstance(content, bytes) and isinstance(lease_id, int) and 0 <= lease_id <= MAX_CONFIG)
        or iv != b""  # the nonce is derived; an IV in the clear would be a second reading of the same bytes
        or isinstance(nested, int)
        or isinstance(named, int)
    ):
        raise InvalidEdek
    return config, content, lease_id, nested, named
