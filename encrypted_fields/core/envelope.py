"""The bytes of one encrypted value as stored: its wrapped key, then the sealed value. docs/formats.md section 2.

    "CMK" ‖ version(1) = 1 ‖ binding(1) ‖ u16 BE edek length ‖ edek ‖ nonce(12) ‖ ciphertext ‖ tag(16)

`binding` says what the associated data holds: 0 tenant, model and field; 1 these and the row's primary key. The first
five bytes are part of the associated data. The EDEK is not: rekeying replaces it, and only the DEK inside it opens the
value.
"""

from __future__ import annotations

from dataclasses import dataclass

from encrypted_fields.core.aead import OVERHEAD, ValueKey
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import InvalidCiphertext

MAGIC = b"CMK"
VERSION = 1
MAX_EDEK = 4096
HEAD = 7
_PREFIX = {0: MAGIC + bytes([VERSION, 0]), 1: MAGIC + bytes([VERSION, 1])}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed stored value. Parsing proves the shape, not the content: only `open` does that."""

    edek: bytes
    sealed: bytes
    row_bound: bool

    def open(self, key: ValueKey, context: ValueContext) -> bytes:
        """The plaintext bytes. InvalidCiphertext unless `key` sealed exactly this for exactly `context`."""
        if (context.row is not None) is not self.row_bound:
            raise InvalidCiphertext
        return key.open(self.sealed, _PREFIX[self.row_bound] + context.aad())

    def with_edek(self, edek: bytes) -> bytes:
        """The same value under a rekeyed EDEK, ready to store."""
        return _join(_PREFIX[self.row_bound], edek, self.sealed)


def seal(plaintext: bytes, key: ValueKey, edek: bytes, context: ValueContext) -> bytes:
    """The stored form of `plaintext`. ValueError for an EDEK that is empty or longer than 4,096 bytes."""
    prefix = _PREFIX[context.row is not None]
    return _join(prefix, edek, key.seal(plaintext, prefix + context.aad()))


def parse(stored: bytes | memoryview) -> Envelope:
    """InvalidCiphertext for anything that `seal` could not have made."""
    data = bytes(stored)
    prefix = data[:5]
    if prefix not in (_PREFIX[0], _PREFIX[1]):
        raise InvalidCiphertext
    size = int.from_bytes(data[5:HEAD], "big")
    if not 0 < size <= MAX_EDEK or len(data) < HEAD + size + OVERHEAD:
        raise InvalidCiphertext
    return Envelope(data[HEAD : HEAD + size], data[HEAD + size :], prefix == _PREFIX[1])


def looks_sealed(data: bytes) -> bool:
    """Whether `data` starts like an envelope of any version: such input is never sealed a second time.

    Versions stay below 32, so that a text that happens to start with "CMK" is not taken for one.
    """
    return data[:3] == MAGIC and len(data) >= HEAD + OVERHEAD and 0 < data[3] < 0x20


def _join(prefix: bytes, edek: bytes, sealed: bytes) -> bytes:
    if not 0 < len(edek) <= MAX_EDEK:
        raise ValueError(f"an EDEK is 1 to {MAX_EDEK} bytes long")
    return prefix + len(edek).to_bytes(2, "big") + edek + sealed
