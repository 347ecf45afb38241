"""A sealed file: header, then 64 KiB chunks that can be opened one by one. docs/formats.md section 3.

    "CMKF" ‖ version(1) = 1 ‖ u16 BE edek length ‖ edek ‖ salt(16) ‖ chunk 0 ‖ chunk 1 ‖ … ‖ last chunk
    "CMKF" ‖ version(1) = 2 ‖ u16 BE edek length ‖ edek ‖ salt(16) ‖ u16 BE name length ‖ name ‖ chunk 0 ‖ …

Each chunk is AES-256-GCM of up to 65,536 bytes (tag appended) under a file key derived from the DEK:
HKDF-SHA256(DEK, salt, canonical("cmk/file/1", magic, context)). Nonce: u88 BE chunk number ‖ last-chunk flag, the
STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015). The last chunk is empty only if the file is.
Version 2 keeps the file's own name, sealed under the same key with the flag 2, which no chunk has.
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

MAGIC, NAMED = b"CMKF\x01", b"CMKF\x02"
SALT_BYTES = 16
MAX_NAME, NAME_STEP = 1024, 64  # bytes of UTF-8; names are padded, so that their length tells little
CHUNK = 65_536
SEALED_CHUNK = CHUNK + TAG_BYTES
MAX_NAME_BOX = -(-(2 + MAX_NAME) // NAME_STEP) * NAME_STEP + TAG_BYTES
MAX_HEADER = len(MAGIC) + 2 + MAX_EDEK + SALT_BYTES + 2 + MAX_NAME_BOX

_random: Callable[[int], bytes] = os.urandom


@dataclass(frozen=True, slots=True)
class Header:
    """The clear start of a sealed file: magic and salt enter the file key; the EDEK may be replaced by rekeying."""

    edek: bytes
    salt: bytes
    name_box: bytes | None = None  # the sealed name, in version 2

    @property
    def magic(self) -> bytes:
        return MAGIC if self.name_box is None else NAMED

    def dump(self) -> bytes:
        name = b"" if self.name_box is None else len(self.name_box).to_bytes(2, "big") + self.name_box
        return self.magic + len(self.edek).to_bytes(2, "big") + self.edek + self.salt + name


def read_header(source: BinaryIO) -> Header:
    """Read and check the header; `source` then stands at the first chunk. InvalidCiphertext for any other file."""
    start = _exactly(source, len(MAGIC) + 2)
    size = int.from_bytes(start[len(MAGIC) :], "big")
    if start[: len(MAGIC)] not in (MAGIC, NAMED) or not 0 < size <= MAX_EDEK:
        raise InvalidCiphertext
    edek, salt = _exactly(source, size), _exactly(source, SALT_BYTES)
    if start[: len(MAGIC)] == MAGIC:
        return Header(edek, salt)
    size = int.from_bytes(_exactly(source, 2), "big")
    if not NAME_STEP + TAG_BYTES <= size <= MAX_NAME_BOX or (size - TAG_BYTES) % NAME_STEP:
        raise InvalidCiphertext
    return Header(edek, salt, _exactly(source, size))


class SealingReader(io.RawIOBase):
    """Reads as the sealed form of `source`: hand it to a Storage, which pulls the file through in constant memory.

    With `name` the file keeps it, sealed (version 2).
    """

    def __init__(
        self,
        source: BinaryIO,
        key: bytes | bytearray | memoryview,
        edek: bytes,
        context: ValueContext,
        name: str | None = None,
    ) -> None:
        if not 0 < len(edek) <= MAX_EDEK:
            raise ValueError(f"an EDEK is 1 to {MAX_EDEK} bytes long")
        salt = _random(SALT_BYTES)
        self._source = source
        self._aead = _file_key(key, NAMED if name is not None else MAGIC, salt, context)
        box = None if name is None else self._aead.encrypt(_NAME_NONCE, _padded(name), None)
        self._header = Header(edek, salt, box).dump()
        self._tags: list[bytes] = []
        self._start()

    def _start(self) -> None:
        self._number = 0
        self._next = fill(self._source)
        self._ready, self._given = self._header, 0
        self._done = False
        self._whole = True

    def rewind(self) -> None:
        """Begin again: the same bytes, for a Storage that reads twice. `source` seeks to its start.

        A source that has changed since is refused before a byte of the difference is given out: under one nonce two
        contents must never leave. ValueError then, and for whoever reads on.
        """
        self._source.seek(0)
        self._start()

    def sealed_size(self, plain: int) -> int:
        """Bytes of the sealed form of a source of `plain` bytes."""
        return len(self._header) + plain + max(1, -(-plain // CHUNK)) * TAG_BYTES

    @property
    def finished(self) -> bool:
        """Whether everything was given out."""
        return self._done and self._given == len(self._ready)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes and never more than a chunk; a whole chunk is not copied."""
        if size < 0:
            return self.readall()
        if self._given == len(self._ready) and not self._done:
            self._ready, self._given = self._seal_next(), 0
        part = self._ready[self._given : self._given + size]
        self._given += len(part)
        return part

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(SEALED_CHUNK), b""))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def _seal_next(self) -> bytes:
        if not self._whole:
            raise ValueError("reading the file failed before: what follows would be sealed with a hole in it")
        self._whole = False  # until the source has given the next chunk
        chunk, self._next = self._next, fill(self._source) if len(self._next) == CHUNK else b""
        self._whole = True
        self._done = not self._next
        number = self._number
        self._number += 1
        sealed = self._aead.encrypt(_nonce(number, last=self._done), chunk, None)
        if number == len(self._tags):
            self._tags.append(sealed[-TAG_BYTES:])
        elif self._tags[number] != sealed[-TAG_BYTES:]:
            self._whole = self._done = False
            raise ValueError("the file changed while it was read twice: seal it anew")
        return sealed


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
        self._header, self._name = header, None  # type: Header, str | None
        self._aead = _file_key(key, header.magic, header.salt, context)
        if header.name_box is not None:
            self._name = _unpadded(self._decrypted(_NAME_NONCE, header.name_box))
        self._size = self._last * CHUNK + tail - TAG_BYTES
        self._position = 0
        self._number, self._chunk = -1, b""
        self._load(self._last)

    @property
    def size(self) -> int:
        """Length of the plaintext in bytes; authenticated."""
        return self._size

    @property
    def name(self) -> str | None:
        """The file's own name if it was sealed along; authenticated."""
        return self._name

    @property
    def salt(self) -> bytes:
        """16 bytes that differ for each sealing; authenticated."""
        return self._header.salt

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

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes and never more than a chunk; a whole chunk is not copied."""
        if size < 0:
            return self.readall()
        if self._position >= self._size or not size:
            return b""
        number, offset = divmod(self._position, CHUNK)
        self._load(number)
        part = self._chunk[offset : offset + size]
        self._position += len(part)
        return part

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(CHUNK), b""))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def _load(self, number: int) -> None:
        if number == self._number:
            return
        self._source.seek(self._start + number * SEALED_CHUNK)
        sealed = fill(self._source, SEALED_CHUNK)
        self._chunk = self._decrypted(_nonce(number, last=number == self._last), sealed)
        self._number = number

    def _decrypted(self, nonce: bytes, sealed: bytes) -> bytes:
        try:
            return self._aead.decrypt(nonce, sealed, None)
        except InvalidTag:
            pass
        raise InvalidCiphertext  # outside the except block, so that no cause rides along


def _file_key(key: bytes | bytearray | memoryview, magic: bytes, salt: bytes, context: ValueContext) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("a data key is exactly 32 bytes")
    # The EDEK stays out, as in a value's envelope: rekeying replaces it without touching a chunk.
    info = canonical("cmk/file/1", magic, context.aad("cmk/file/1"))
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, info).derive(key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


_NAME_NONCE = bytes(11) + b"\x02"


def _padded(name: str) -> bytes:
    """u16 BE length ‖ UTF-8 ‖ zeros up to a multiple of 64."""
    data = name.encode()
    if len(data) > MAX_NAME:
        raise ValueError(f"the name of a file has at most {MAX_NAME} bytes")
    return (len(data).to_bytes(2, "big") + data).ljust(-(-(2 + len(data)) // NAME_STEP) * NAME_STEP, b"\0")


def _unpadded(data: bytes) -> str:
    try:
        name = data[2 : 2 + int.from_bytes(data[:2], "big")].decode()
        if _padded(name) == data:
            return name
    except ValueError:
        pass
    raise InvalidCiphertext


def fill(source: BinaryIO, size: int = CHUNK) -> bytes:
    """`size` bytes, or what is left, however short the source's single reads are."""
    found = b""
    while len(found) < size:
        more: bytes | None = source.read(size - len(found))
        if more is None:  # a non-blocking source: "nothing yet" must not be taken for the end
            raise BlockingIOError("what is sealed or opened is read from a blocking source")
        if not more:
            break
        found = found + more if found else more
    return found


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = fill(source, size)
    if len(data) != size:
        raise InvalidCiphertext
    return data
