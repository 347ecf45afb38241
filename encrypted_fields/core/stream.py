"""A sealed file: header, then 64 KiB chunks that can be opened one by one. docs/formats.md section 3.

    "CMKF" ‖ version(1) = 1 ‖ u16 BE edek length ‖ edek ‖ salt(16) ‖ chunk 0 ‖ chunk 1 ‖ … ‖ last chunk

Each chunk is AES-256-GCM of up to 65,536 bytes (tag appended) under a file key derived from the DEK:
HKDF-SHA256(DEK, salt, canonical("cmk/file/1", magic, context)). Nonce: u88 BE chunk number ‖ last-chunk flag, the
STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015). The last chunk is empty only if the file is.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from encrypted_fields.core.aead import KEY_BYTES, TAG_BYTES
from encrypted_fields.core.context import ValueContext, canonical
from encrypted_fields.core.envelope import MAX_EDEK
from encrypted_fields.core.errors import InvalidCiphertext

MAGIC = b"CMKF\x01"
SALT_BYTES = 16
CHUNK = 65_536
SEALED_CHUNK = CHUNK + TAG_BYTES
MAX_HEADER = len(MAGIC) + 2 + MAX_EDEK + SALT_BYTES

_random: Callable[[int], bytes] = os.urandom


@dataclass(frozen=True, slots=True)
class Header:
    """The clear start of a sealed file: magic and salt enter the file key; the EDEK may be replaced by rekeying."""

    edek: bytes
    salt: bytes

    def dump(self) -> bytes:
        return MAGIC + len(self.edek).to_bytes(2, "big") + self.edek + self.salt


def read_header(source: BinaryIO) -> Header:
    """Read and check the header; `source` then stands at the first chunk. InvalidCiphertext for any other file."""
    start = _exactly(source, len(MAGIC) + 2)
    size = int.from_bytes(start[len(MAGIC) :], "big")
    if start[: len(MAGIC)] != MAGIC or not 0 < size <= MAX_EDEK:
        raise InvalidCiphertext
    return Header(_exactly(source, size), _exactly(source, SALT_BYTES))


class SealingReader(io.RawIOBase):
    """Reads as the sealed form of `source`: hand it to a Storage, which pulls the file through in constant memory."""

    def __init__(
        self, source: BinaryIO, key: bytes | bytearray | memoryview, edek: bytes, context: ValueContext
    ) -> None:
        if not 0 < len(edek) <= MAX_EDEK:
            raise ValueError(f"an EDEK is 1 to {MAX_EDEK} bytes long")
        header = Header(edek, _random(SALT_BYTES))
        self._source = source
        self._aead = _file_key(key, header, context)
        self._number = 0
        self._next = _fill(source)
        self._ready = memoryview(header.dump())
        self._done = False
        self._whole = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._ready and not self._done:
            self._ready = memoryview(self._seal_next())
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _seal_next(self) -> bytes:
        if not self._whole:
            raise ValueError("reading the file failed before: what follows would be sealed with a hole in it")
        self._whole = False  # until the source has given the next chunk
        chunk, self._next = self._next, _fill(self._source) if len(self._next) == CHUNK else b""
        self._whole = True
        self._done = not self._next
        nonce = _nonce(self._number, last=self._done)
        self._number += 1
        return self._aead.encrypt(nonce, chunk, None)


class OpeningReader(io.RawIOBase):
    """The plaintext of a sealed file: seekable, one chunk in memory, never a byte that was not authenticated.

    The last chunk is opened first, so a cut or extended file is refused before anything is read from it.
    """

    def __init__(self, source: BinaryIO, key: bytes | bytearray | memoryview, context: ValueContext) -> None:
        source.seek(0)
        header = read_header(source)
        self._source = source
        self._start = source.tell()
        body = source.seek(0, io.SEEK_END) - self._start
        self._last = max(0, (body - 1) // SEALED_CHUNK)
        tail = body - self._last * SEALED_CHUNK
        if tail < TAG_BYTES or (tail == TAG_BYTES and self._last > 0):
            raise InvalidCiphertext
        self._aead = _file_key(key, header, context)
        self._size = self._last * CHUNK + tail - TAG_BYTES
        self._position = 0
        self._number, self._chunk = -1, b""
        self._load(self._last)

    @property
    def size(self) -> int:
        """Length of the plaintext in bytes; authenticated."""
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}.get(whence)
        if base is None:
            raise ValueError("seek counts from the start, the position or the end")
        if base + offset < 0:
            raise ValueError("seek before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position >= self._size:
            return 0
        number, offset = divmod(self._position, CHUNK)
        self._load(number)
        part = self._chunk[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _load(self, number: int) -> None:
        if number == self._number:
            return
        self._source.seek(self._start + number * SEALED_CHUNK)
        sealed = _fill(self._source, SEALED_CHUNK)
        try:
            chunk = self._aead.decrypt(_nonce(number, last=number == self._last), sealed, None)
        except InvalidTag:
            chunk = None
        if chunk is None:
            raise InvalidCiphertext
        self._number, self._chunk = number, chunk


def _file_key(key: bytes | bytearray | memoryview, header: Header, context: ValueContext) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("a data key is exactly 32 bytes")
    # The EDEK stays out, as in a value's envelope: rekeying replaces it without touching a chunk.
    info = canonical("cmk/file/1", MAGIC, context.aad("cmk/file/1"))
    return AESGCM(HKDF(SHA256(), KEY_BYTES, header.salt, info).derive(key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _fill(source: BinaryIO, size: int = CHUNK) -> bytes:
    """`size` bytes, or what is left, however short the source's single reads are."""
    found = b""
    while len(found) < size:
        more: bytes | None = source.read(size - len(found))
        if more is None:  # a non-blocking source: "nothing yet" must not be taken for the end
            raise BlockingIOError("a file is sealed and opened from a blocking source")
        if not more:
            break
        found = found + more if found else more
    return found


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = _fill(source, size)
    if len(data) != size:
        raise InvalidCiphertext
    return data
