"""IronCore's V3 fields: what the Node, Java, Go and PHP clients read and write. docs/documents.md, "V3".

03 ‖ "IRON" ‖ u16 BE n ‖ header(n) ‖ nonce(12) ‖ ciphertext ‖ tag(16)

header    = { bytes sig = 1; SaaSShieldHeader saas_shield = 3 { string tenant_id = 1 } }
sig       = nonce2(12) ‖ the tag(16) of AES-256-GCM(DEK, nonce2, serialized SaaSShieldHeader)
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass

from encrypted_fields.core import protobuf
from encrypted_fields.core.aead import NONCE_BYTES, OVERHEAD, TAG_BYTES
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.documents.key import Data, DocumentKey
from encrypted_fields.documents.messages import members, text

MAGIC = b"\x03IRON"
PREFIX = len(MAGIC) + 2
MAX_HEADER = 65_535
_SIGNATURE = NONCE_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True)
class Trust:
    """What decryption takes beyond headers that are signed for the tenant of the metadata.

    `unsigned`: fields without header or signature, as old clients wrote. `former_tenants`: headers signed for these
    tenants, of documents whose EDEK another client moved to a new tenant (it leaves the fields' headers as they were).
    A signature that is there is always verified.
    """

    unsigned: bool = False
    former_tenants: Collection[str] = ()


STRICT = Trust()


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header. `size`: bytes before the nonce. `signature` None: unsigned; `tenant` None: no header at all."""

    size: int
    tenant: str | None = None
    signed: bytes = b""
    signature: bytes | None = None

    def admit(self, tenant: str, trust: Trust) -> None:
        """Before the key is asked for: InvalidCiphertext for another tenant's field or an unsigned one."""
        if self.tenant is not None and self.tenant != tenant and self.tenant not in trust.former_tenants:
            raise InvalidCiphertext
        if self.signature is None and not trust.unsigned:
            raise InvalidCiphertext

    def verify(self, key: DocumentKey) -> None:
        """InvalidCiphertext unless this key signed exactly this tenant."""
        if self.signature is None:
            return
        tag = key.tag(self.signature[:NONCE_BYTES], self.signed)
        if not hmac.compare_digest(tag, self.signature[NONCE_BYTES:]):
            raise InvalidCiphertext


def make(key: DocumentKey, tenant: str) -> bytes:
    """All that stands before the nonce. ValueError when the tenant's name does not fit."""
    signed = protobuf.length(1, tenant.encode())
    sealed = key.seal(signed)
    message = protobuf.length(1, sealed[:NONCE_BYTES] + sealed[-TAG_BYTES:]) + protobuf.length(3, signed)
    if len(message) > MAX_HEADER:
        raise ValueError("the tenant's name is too long for a document header")
    return MAGIC + len(message).to_bytes(2, "big") + message


def header_size(start: bytes) -> int:
    """How many bytes stand before the nonce, from the first seven. InvalidCiphertext for another format."""
    if len(start) < PREFIX or start[: len(MAGIC)] != MAGIC:
        raise InvalidCiphertext
    return PREFIX + int.from_bytes(start[len(MAGIC) : PREFIX], "big")


def read(data: Data) -> Header:
    """The header at the start of `data`, which may go on. InvalidCiphertext for any other bytes."""
    size = header_size(bytes(data[:PREFIX]))
    if size == PREFIX:
        return Header(size)
    message = bytes(data[PREFIX:size])
    if len(message) != size - PREFIX:
        raise InvalidCiphertext
    found = members(message, {1: bytes, 2: bytes, 3: bytes})
    signature, signed = found.get(1), found.get(3)
    if not isinstance(signed, bytes) or 2 in found:  # 2: a header of another product of theirs
        raise InvalidCiphertext
    if signature is not None and (not isinstance(signature, bytes) or len(signature) != _SIGNATURE):
        raise InvalidCiphertext
    tenant = members(signed, {1: bytes}).get(1, b"")
    return Header(size, text(tenant if isinstance(tenant, bytes) else b""), signed, signature)


def looks_sealed(data: Data) -> bool:
    """Whether `data` starts as a V3 field does and is long enough to be one."""
    return len(data) >= PREFIX + OVERHEAD and bytes(data[: len(MAGIC)]) == MAGIC
