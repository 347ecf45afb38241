"""Blind indexes: a keyed digest of a value, so that a database can find it without reading it. docs/formats.md.

    u32 number of the tenant secret ‖ HMAC-SHA256(index key, message), cut to `bits`

Without the key nothing can be confirmed by guessing; with it, only for one tenant and one index.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from encrypted_fields.core.context import canonical

HEAD = 4
FULL = 128  # bits of an exact index: two of 2^60 values meet with a chance of 2^-9
LABEL = "cmk/index/1"


def index_key(
    derived: bytes | bytearray | memoryview, tenant: str, places: Sequence[tuple[str, str]], name: str
) -> bytes:
    """32 bytes for one index of one tenant. `places`: (model, field) of what is indexed, in order; `name`: what the
    index says about them, such as `exact` or `last/4`."""
    parts = [text.encode() for text in (tenant, name, *(text for place in places for text in place))]
    return hmac.digest(derived, canonical(LABEL, *parts), "sha512")[:32]


def ready(key: bytes) -> hmac.HMAC:
    """The key in OpenSSL's hands, which cleanses it when the object goes; for `blind`, any number of times."""
    return hmac.new(key, digestmod="sha256")


def blind(key: bytes | hmac.HMAC, number: int, values: Sequence[bytes], bits: int = FULL) -> bytes:
    """What is stored. `number` is the tenant secret's; `values` are the bytes of each field, in the order of `places`.

    Bits beyond `bits` in the last byte are zero.
    """
    mac = ready(key) if isinstance(key, bytes) else key.copy()
    mac.update(b"".join([len(value).to_bytes(8, "big") + value for value in values]))
    digest = mac.digest()[: size(bits)]
    if bits % 8:
        digest = digest[:-1] + bytes([digest[-1] & 0xFF << (8 - bits % 8) & 0xFF])
    return head(number) + digest


def size(bits: int) -> int:
    """Bytes that the digest takes."""
    return (bits + 7) // 8


def head(number: int) -> bytes:
    """How all index values begin that were made with this tenant secret."""
    return number.to_bytes(HEAD, "big")
