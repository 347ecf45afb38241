"""IronCore's V5 documents: what alloy reads and writes. docs/documents.md, "V5".

key id    = u32 BE kmsConfigId ‖ 02 ‖ 00                (02: proxy-wrapped key, standard document)
EDEK      = key id ‖ V4DocumentHeader
field     = 00 ‖ "IRON" ‖ nonce(12) ‖ ciphertext ‖ tag(16)
attached  = key id ‖ u16 BE n ‖ V4DocumentHeader(n) ‖ nonce(12) ‖ ciphertext ‖ tag(16)

V4DocumentHeader = { signature_info = 1 { bytes signature = 1; signature_type = 2 (1: HS256) };
                     SignedPayload signed_payload = 2 { EncryptionInformation = 1 { algorithm = 1 };
                                                       repeated EdekWrapper edeks = 2; user_metadata = 3 } }
EdekWrapper      = { EncryptedDek cmk_edek = 2 }        (1 and 3 are other products' and standalone keys)
signature        = HMAC-SHA256(DEK, serialized SignedPayload)
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from encrypted_fields.core import protobuf
from encrypted_fields.core.aead import OVERHEAD
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.documents.key import Data, DocumentKey
from encrypted_fields.documents.messages import MAX_CONFIG, config_and_tenant, elements, emit, fields, members

MAGIC = b"\x00IRON"
KEY_ID = 6
PREFIX = KEY_ID + 2  # of an attached document
MAX_HEADER = 65_535
_STANDARD = b"\x02\x00"
_HS256 = 1
_AES256_GCM = 1
_EDEKS = 2


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed key id and V4DocumentHeader. `element`: the one EncryptedDek that the key id names, as written."""

    payload: bytes
    signature: bytes
    element: bytes
    tenant: str | None

    @property
    def edek(self) -> bytes:
        """What the proxy is asked with."""
        return protobuf.length(1, self.element)

    def admit(self, tenant: str) -> None:
        """Before the key is asked for: InvalidCiphertext for another tenant's document."""
        if self.tenant is not None and self.tenant != tenant:
            raise InvalidCiphertext

    def verify(self, key: DocumentKey) -> None:
        """InvalidCiphertext unless this key signed the payload."""
        if not hmac.compare_digest(key.mac(self.payload), self.signature):
            raise InvalidCiphertext

    def rekeyed(self, edek: bytes, tenant: str, key: DocumentKey) -> tuple[bytes, bytes]:
        """Key id and header around another EDEK of the same key; what else was signed is signed again."""
        others = [(number, value) for number, value in fields(self.payload) if number != _EDEKS]
        return make(edek, tenant, key, others)


def make(
    edek: bytes, tenant: str, key: DocumentKey, others: list[tuple[int, int | bytes]] | None = None
) -> tuple[bytes, bytes]:
    """(key id, V4DocumentHeader) for an EDEK from the proxy, stamped with its tenant as alloy does.

    InvalidCiphertext when `edek` is not of the proxy; ValueError when the header would not fit.
    """
    stamped = [_stamped(element, tenant) for element in elements(edek)]
    config, _ = stamped[0]
    wrappers: list[tuple[int, int | bytes]] = [(_EDEKS, protobuf.length(2, element)) for _, element in stamped]
    payload = emit(sorted([*(others or []), *wrappers], key=lambda member: member[0]))
    signature = protobuf.length(1, key.mac(payload)) + protobuf.varint(2, _HS256)
    message = protobuf.length(1, signature) + protobuf.length(2, payload)
    if len(message) > MAX_HEADER:
        raise ValueError("the tenant's name is too long for a document header")
    return config.to_bytes(4, "big") + _STANDARD, message


def read(key_id: bytes, message: bytes) -> Header:
    """InvalidCiphertext unless the header is signed with HS256 and holds an EDEK of the configuration in the key id."""
    config = _config(key_id)
    if config is None or not 0 < len(message) <= MAX_HEADER:
        raise InvalidCiphertext
    outer = members(message, {1: bytes, 2: bytes})
    info, payload = outer.get(1), outer.get(2)
    if not isinstance(info, bytes) or not isinstance(payload, bytes):
        raise InvalidCiphertext
    signing = members(info, {1: bytes, 2: int})
    signature = signing.get(1)
    if not isinstance(signature, bytes) or len(signature) != 32 or signing.get(2) != _HS256:
        raise InvalidCiphertext
    element, tenant = _chosen(payload, config)
    return Header(payload, signature, element, tenant)


def attach(key_id: bytes, message: bytes) -> bytes:
    """What stands before the nonce of an attached document."""
    return key_id + len(message).to_bytes(2, "big") + message


def attached_size(start: bytes) -> int:
    """How many bytes stand before the nonce, from the first eight. InvalidCiphertext for another format."""
    if len(start) < PREFIX or _config(start[:KEY_ID]) is None:
        raise InvalidCiphertext
    return PREFIX + int.from_bytes(start[KEY_ID:PREFIX], "big")


def read_attached(data: Data) -> tuple[Header, int]:
    """The header at the start of an attached document, and how many bytes stand before the nonce."""
    size = attached_size(bytes(data[:PREFIX]))
    start = bytes(data[:size])
    if len(start) != size:
        raise InvalidCiphertext
    return read(start[:KEY_ID], start[PREFIX:]), size


def looks_sealed(data: Data) -> bool:
    """Whether `data` starts as a V5 field does and is long enough to be one."""
    return len(data) >= len(MAGIC) + OVERHEAD and bytes(data[: len(MAGIC)]) == MAGIC


def _config(key_id: bytes) -> int | None:
    config = int.from_bytes(key_id[:4], "big")
    return config if key_id[4:] == _STANDARD and 0 < config <= MAX_CONFIG else None


def _chosen(payload: bytes, config: int) -> tuple[bytes, str | None]:
    algorithm, found = 0, []
    for number, value in fields(payload):
        if number == 1 and isinstance(value, bytes):
            written = members(value, {1: int}).get(1, 0)
            algorithm = written if isinstance(written, int) else 0
        elif number == _EDEKS and isinstance(value, bytes):
            element = members(value, {1: bytes, 2: bytes, 3: bytes}).get(2)
            if isinstance(element, bytes):
                number_of, tenant = config_and_tenant(fields(element))
                if number_of == config:
                    found.append((element, tenant))
    if algorithm not in (0, _AES256_GCM) or not found:
        raise InvalidCiphertext
    return found[0]  # alloy, too, takes the first one of this configuration


def _stamped(element: bytes, tenant: str) -> tuple[int, bytes]:
    found = fields(element)
    config, _ = config_and_tenant(found)
    return config, emit([member for member in found if member[0] != 6]) + protobuf.length(6, tenant.encode())
