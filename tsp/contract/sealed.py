"""A sealed configuration as it travels: one libsodium sealed box per proxy key. docs/formats.md section 5.

Sealed boxes (crypto_box_seal: X25519 and XSalsa20-Poly1305) hide the document from everybody but the proxy and say
nothing of who made it; what is inside is therefore bound, and the proxy compares (tsp.configs).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox

from encrypted_fields.core.context import canonical
from tsp.contract.tenant import MAX_CONFIG, DocumentError, Kind, is_name

PUBLIC_KEY_BYTES = 32
MAX_BOX = 65_536
MAX_BOXES = 16
OVERHEAD = 48


@dataclass(frozen=True, slots=True)
class Record:
    """One immutable version of one configuration: the browser posts it, the broker keeps it, the proxy fetches it.

    `sequence` is the broker's running number over all records, 0 before it is stored.
    """

    tenant: str
    config: int
    kind: Kind
    version: int
    boxes: Mapping[str, bytes]
    sequence: int = 0

    @property
    def hash(self) -> str:
        """Hex SHA-256 over all boxes, by key id: the next version's `previous`."""
        parts = [part for key in sorted(self.boxes) for part in (bytes.fromhex(key), _digest(self.boxes[key]))]
        return hashlib.sha256(canonical("cmk/sealed/1", *parts)).hexdigest()


def key_id(public_key: bytes) -> str:
    """The id of a proxy key: the first 32 hex digits of its SHA-256."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ValueError("an X25519 public key is 32 bytes")
    return hashlib.sha256(public_key).hexdigest()[:32]


def seal(document: bytes, public_key: bytes) -> bytes:
    """A sealed box that only the holder of the private key opens: 48 bytes longer than `document`.

    ValueError for a public key that is not 32 bytes, or of low order (the shared secret would be known to everybody).
    """
    if not 0 < len(document) <= MAX_BOX - OVERHEAD:
        raise ValueError("the document is empty or too long to seal")
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ValueError("an X25519 public key is 32 bytes")
    try:
        return bytes(SealedBox(PublicKey(public_key)).encrypt(document))
    except CryptoError:
        raise ValueError("the public key is not usable") from None


def dump(record: Record) -> dict[str, Any]:
    """The JSON form; boxes as base64."""
    return {
        "tenant": record.tenant,
        "config": record.config,
        "kind": record.kind,
        "version": record.version,
        "boxes": {key: base64.b64encode(box).decode() for key, box in record.boxes.items()},
        "sequence": record.sequence,
    }


def load(found: object) -> Record:
    """Shape, sizes and names only: nothing else can be checked without the private key. DocumentError otherwise."""
    if not isinstance(found, dict):
        raise DocumentError("a record is an object")
    boxes = found.get("boxes")
    if not isinstance(boxes, dict) or not 0 < len(boxes) <= MAX_BOXES:
        raise DocumentError(f"'boxes' must hold 1 to {MAX_BOXES} sealed boxes")
    checks = {
        "tenant": is_name(found.get("tenant")),
        "config": _number(found.get("config"), 1),
        "kind": found.get("kind") in get_args(Kind),
        "version": _number(found.get("version"), 1),
        "sequence": _number(found.get("sequence", 0), 0, 2**63),
    }
    for name, fine in checks.items():
        if not fine:
            raise DocumentError(f"'{name}' is not valid")
    return Record(
        tenant=found["tenant"],
        config=found["config"],
        kind=cast(Kind, found["kind"]),
        version=found["version"],
        boxes={_key(key): _box(box) for key, box in boxes.items()},
        sequence=found.get("sequence", 0),
    )


def _key(text: object) -> str:
    if not isinstance(text, str) or len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise DocumentError("a box must be named by its key id")
    return text


def _box(text: object) -> bytes:
    if not isinstance(text, str) or len(text) > 4 * (MAX_BOX + 2) // 3:
        raise DocumentError(f"a box is base64 of at most {MAX_BOX} bytes")
    try:
        box = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DocumentError("a box is not base64") from None
    if not OVERHEAD < len(box) <= MAX_BOX:
        raise DocumentError(f"a box is {OVERHEAD + 1} to {MAX_BOX} bytes long")
    return box


def _digest(box: bytes) -> bytes:
    return hashlib.sha256(box).digest()


def _number(value: object, least: int, most: int = MAX_CONFIG) -> bool:
    return type(value) is int and least <= value <= most
