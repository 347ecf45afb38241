"""What a browser sealed to its recipients, as far as a server can see it: the shape, never the content.

    "CMKE" ‖ version(1) = 1 ‖ kind ‖ binding ‖ u8 n ‖ n × (key id(16) ‖ box(80)) ‖ header(24) ‖ chunks

docs/formats.md section 9. No cryptography here, and no key: encrypted_fields never opens these.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

from encrypted_fields.core.errors import InvalidCiphertext

MAGIC, VERSION = b"CMKE", 1
TEXT, FILE = 0, 1
HEAD, ID, BOX, HEADER, TAG = 8, 16, 80, 24, 17
MOST_RECIPIENTS = 64
TEXT_STEP, ABOUT, CHUNK = 64, 1024, 65_536
MAX_HEAD = HEAD + MOST_RECIPIENTS * (ID + BOX) + HEADER


@dataclass(frozen=True, slots=True)
class Shape:
    """What is written outside of the seal. `recipients`: key ids in hex; `size`: bytes of content, of text rounded up
    to its padding; `bound`: whether it was sealed for one row."""

    kind: int
    bound: bool
    recipients: tuple[str, ...]
    size: int


def key_id(public_key: bytes) -> str:
    """The first 32 hex digits of the SHA-256 of an X25519 public key. ValueError unless it has 32 bytes."""
    if len(public_key) != 32:
        raise ValueError("a recipient's public key is 32 bytes long")
    return sha256(public_key).hexdigest()[: 2 * ID]


def shape_of(data: bytes) -> Shape:
    """InvalidCiphertext for anything that a browser of ours did not make."""
    return _shape(data[:MAX_HEAD], len(data))


def shape_of_file(source: BinaryIO, size: int) -> Shape:
    """The same for `size` bytes in `source`, of which only the start is read; it then stands there again."""
    source.seek(0)
    start = source.read(MAX_HEAD)
    source.seek(0)
    return _shape(start, size)


def _shape(start: bytes, size: int) -> Shape:
    if start[:5] != MAGIC + bytes([VERSION]) or len(start) < HEAD:
        raise InvalidCiphertext
    kind, bound, count = start[5:HEAD]
    body = size - HEAD - count * (ID + BOX) - HEADER
    if kind not in (TEXT, FILE) or bound not in (0, 1) or not 0 < count <= MOST_RECIPIENTS or body < 0:
        raise InvalidCiphertext
    ids = tuple(start[at : at + ID].hex() for at in range(HEAD, HEAD + count * (ID + BOX), ID + BOX))
    if list(ids) != sorted(set(ids)):
        raise InvalidCiphertext
    return Shape(kind, bound == 1, ids, _text_size(body) if kind == TEXT else _file_size(body))


def _text_size(body: int) -> int:
    size = body - TAG
    if size <= 0 or size % TEXT_STEP:
        raise InvalidCiphertext
    return size


def _file_size(body: int) -> int:
    """Of an `about` chunk, then chunks of 65,536 bytes, of which only the last is shorter, and none empty but in an
    empty file."""
    body -= ABOUT + TAG
    last = max(0, (body - 1) // (CHUNK + TAG))
    tail = body - last * (CHUNK + TAG) - TAG
    if tail < 0 or (tail == 0 and last > 0):
        raise InvalidCiphertext
    return last * CHUNK + tail
