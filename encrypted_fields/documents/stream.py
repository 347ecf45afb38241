"""Documents of any size through files: the same bytes as one-shot encryption, in constant memory.

These formats have one tag for the whole body, at its end. Decryption therefore reads the sealed data twice: once to
verify the tag, keeping a keyed digest of each chunk, and once to write the plaintext, each chunk compared with its
digest first. No byte is written before the whole is verified, also when the source changes in between.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import AEADDecryptionContext

from encrypted_fields.core import aead
from encrypted_fields.core.aead import NONCE_BYTES, OVERHEAD, TAG_BYTES
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.protocol import Metadata
from encrypted_fields.core.stream import fill
from encrypted_fields.documents import edeks, service, v3, v5, values
from encrypted_fields.documents.edeks import Edek, Format
from encrypted_fields.documents.key import DocumentKey
from encrypted_fields.documents.v3 import STRICT, Trust

CHUNK = 262_144
MAX_STREAM = 2**36 - 32  # bytes under one nonce: NIST SP 800-38D
_SPOOL = 1_048_576
_BLOCK = 16


def encrypt_stream(source: BinaryIO, target: BinaryIO, metadata: Metadata, *, format: Format = Format.V5) -> bytes:
    """Write `source`, sealed as one field, to `target`; returns the EDEK to keep beside it. One call to the proxy.

    AlreadyEncrypted before anything is written. When reading fails half way, what `target` holds opens with nothing.
    """
    first = _first(source)
    with service.new_key(metadata) as (key, wrapped):
        stored = edeks.make(wrapped, metadata.tenant, key, format)
        prefix = v3.make(key, metadata.tenant) if format is Format.V3 else v5.MAGIC
        _seal(prefix, first, source, target, key)
    return stored


def encrypt_attached_stream(source: BinaryIO, target: BinaryIO, metadata: Metadata) -> None:
    """Write `source` to `target` as an attached V5 document, which carries its EDEK in front."""
    first = _first(source)
    with service.new_key(metadata) as (key, wrapped):
        stored = edeks.make(wrapped, metadata.tenant, key, Format.V5)
        _seal(v5.attach(stored[: v5.KEY_ID], stored[v5.KEY_ID :]), first, source, target, key)


def decrypt_stream(
    source: BinaryIO, target: BinaryIO, edek: bytes, metadata: Metadata, *, trust: Trust = STRICT
) -> int:
    """Write the plaintext of a field of either format to `target`; returns its length in bytes.

    InvalidCiphertext, and nothing written, unless the whole is what the key sealed. A source that cannot seek is first
    copied, still sealed, to an unnamed temporary file.
    """
    held = edeks.read(edek)
    with _seekable(source) as (sealed, start):
        header, size = _field_start(sealed)
        if header is not None:
            header.admit(metadata.tenant, trust)
        with service.opened(metadata, held) as key:
            if header is not None:
                header.verify(key)
            return _open(sealed, start + size, target, key)


def decrypt_attached_stream(source: BinaryIO, target: BinaryIO, metadata: Metadata) -> int:
    """Write the plaintext of an attached document to `target`; returns its length. Promises as `decrypt_stream`."""
    with _seekable(source) as (sealed, start):
        prefix = fill(sealed, v5.PREFIX)
        size = v5.attached_size(prefix)
        header, _ = v5.read_attached(prefix + fill(sealed, size - v5.PREFIX))
        with service.opened(metadata, Edek(header.edek, header)) as key:
            return _open(sealed, start + size, target, key)


def _first(source: BinaryIO) -> bytes:
    first = fill(source, CHUNK)
    values.refuse_sealed(first)
    return first


def _seal(prefix: bytes, first: bytes, source: BinaryIO, target: BinaryIO, key: DocumentKey) -> None:
    nonce = aead._random(NONCE_BYTES)  # the one seam for randomness
    sealing = key.encryptor(nonce)
    target.write(prefix + nonce)
    chunk, total = first, 0
    while chunk:
        total += len(chunk)
        if total > MAX_STREAM:
            raise ValueError("a document holds less than 64 GiB")
        target.write(sealing.update(chunk))
        chunk = fill(source, CHUNK)
    target.write(sealing.finalize() + sealing.tag)


def _open(source: BinaryIO, start: int, target: BinaryIO, key: DocumentKey) -> int:
    """Verify, then write; `start` is where the nonce begins."""
    size = source.seek(0, os.SEEK_END) - start - OVERHEAD
    if not 0 <= size <= MAX_STREAM:
        raise InvalidCiphertext
    source.seek(start)
    nonce = fill(source, NONCE_BYTES)
    secret = os.urandom(32)  # so that nobody can look for a second chunk with the same digest
    digests = _verify(source, size, nonce, key, secret)
    source.seek(start + NONCE_BYTES)
    opening = key.decryptor(nonce)
    for number, expected in enumerate(digests):
        chunk = fill(source, min(CHUNK, size - number * CHUNK))
        if not hmac.compare_digest(_digest(chunk, secret), expected):
            raise InvalidCiphertext  # the source was changed after it was verified
        target.write(opening.update(chunk))
    return size


def _verify(source: BinaryIO, size: int, nonce: bytes, key: DocumentKey, secret: bytes) -> list[bytes]:
    """The digest of each chunk of a body whose tag is right; InvalidCiphertext otherwise. Plaintext is thrown away."""
    opening, digests, scratch = key.decryptor(nonce), [], bytearray(min(CHUNK, size) + _BLOCK)
    try:
        for left in range(size, 0, -CHUNK):
            chunk = fill(source, min(CHUNK, left))
            if len(chunk) != min(CHUNK, left):
                raise InvalidCiphertext
            opening.update_into(chunk, scratch)
            digests.append(_digest(chunk, secret))
        tag = fill(source, TAG_BYTES)
        if len(tag) == TAG_BYTES and _finalized(opening, tag):
            return digests
    finally:
        scratch[:] = bytes(len(scratch))
    raise InvalidCiphertext


def _finalized(opening: AEADDecryptionContext, tag: bytes) -> bool:
    try:
        opening.finalize_with_tag(tag)
    except InvalidTag:
        return False
    return True


def _digest(chunk: bytes, secret: bytes) -> bytes:
    return blake2b(chunk, key=secret, digest_size=16).digest()


def _field_start(source: BinaryIO) -> tuple[v3.Header | None, int]:
    """The V3 header, or None for a V5 field, and how many bytes stand before the nonce."""
    start = fill(source, len(v5.MAGIC))
    if start == v5.MAGIC:
        return None, len(v5.MAGIC)
    start += fill(source, v3.PREFIX - len(start))
    size = v3.header_size(start)
    return v3.read(start + fill(source, size - len(start))), size


@contextmanager
def _seekable(source: BinaryIO) -> Iterator[tuple[BinaryIO, int]]:
    """`source` and the place where it stands, or a sealed copy of what is left of it."""
    if source.seekable():
        yield source, source.tell()
        return
    with SpooledTemporaryFile(max_size=_SPOOL) as copy:
        copyfileobj(source, copy, CHUNK)
        copy.seek(0)
        yield cast(BinaryIO, copy), 0
