"""Streams: the same bytes as one-shot, constant memory, and not one byte of plaintext before the tag is verified."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from typing import BinaryIO

import pytest

from encrypted_fields import documents
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.documents import EncryptedDocument, Format, Trust, attached, stream, v3
from encrypted_fields.documents.key import DocumentKey
from tests.encrypted_fields.core.draw import flipped
from tests.encrypted_fields.documents.conftest import FORMATS, A, B
from tests.encrypted_fields.documents.memory import Keys

CHUNK = stream.CHUNK
SIZES = [0, 1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5]
every_format = pytest.mark.parametrize("form", FORMATS)


def text(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def sealed(data: bytes, form: Format = Format.V5) -> tuple[bytes, bytes]:
    target = io.BytesIO()
    return documents.encrypt_stream(io.BytesIO(data), target, A, format=form), target.getvalue()


def opened(data: bytes | BinaryIO, edek: bytes) -> bytes:
    target = io.BytesIO()
    size = documents.decrypt_stream(io.BytesIO(data) if isinstance(data, bytes) else data, target, edek, A)
    assert size == len(target.getvalue())
    return target.getvalue()


@every_format
@pytest.mark.parametrize("size", SIZES)
def test_streams_and_one_shot_read_each_other(keys: Keys, form: Format, size: int) -> None:
    edek, data = sealed(text(size), form)
    assert opened(data, edek) == text(size)
    assert documents.decrypt(EncryptedDocument(edek, {"f": data}), A) == {"f": text(size)}
    once = documents.encrypt({"f": text(size)}, A, format=form)
    assert opened(bytes(once.fields["f"]), once.edek) == text(size)
    assert len(once.fields["f"]) == len(data)


@pytest.mark.parametrize("size", SIZES)
def test_attached_streams_and_one_shot_read_each_other(keys: Keys, size: int) -> None:
    blob, target = io.BytesIO(), io.BytesIO()
    attached.encrypt_stream(io.BytesIO(text(size)), blob, A)
    assert attached.decrypt(blob.getvalue(), A) == text(size)
    assert attached.decrypt_stream(io.BytesIO(attached.encrypt(text(size), A)), target, A) == size
    assert target.getvalue() == text(size)
    with pytest.raises(InvalidCiphertext):
        attached.decrypt_stream(blob, io.BytesIO(), B)


class Pipe(io.RawIOBase):
    """A source that cannot seek and gives as little as it likes."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 1000) if size >= 0 else 1000)


@every_format
def test_a_source_may_be_a_pipe(keys: Keys, form: Format) -> None:
    target = io.BytesIO()
    edek = documents.encrypt_stream(Pipe(text(5000)), target, A, format=form)  # type: ignore[arg-type]
    assert opened(Pipe(target.getvalue()), edek) == text(5000)  # type: ignore[arg-type]


def test_a_stream_begins_where_the_source_stands(keys: Keys) -> None:
    edek, data = sealed(text(100))
    source = io.BytesIO(b"before" + data)
    source.seek(6)
    assert opened(source, edek) == text(100)


@every_format
def test_every_flipped_bit_and_every_cut_is_refused_before_a_byte_is_out(keys: Keys, form: Format) -> None:
    edek, data = sealed(b"ab", form)
    for damaged in [*flipped(data), *(data[:size] for size in range(len(data))), data + b"\0"]:
        target = io.BytesIO()
        with pytest.raises(InvalidCiphertext):
            documents.decrypt_stream(io.BytesIO(damaged), target, edek, A)
        assert target.getvalue() == b""


def test_a_bit_flipped_in_the_last_chunk_keeps_the_first_one_in(keys: Keys) -> None:
    edek, data = sealed(text(3 * CHUNK))
    target = io.BytesIO()
    with pytest.raises(InvalidCiphertext):
        documents.decrypt_stream(io.BytesIO(data[:-1] + bytes([data[-1] ^ 1])), target, edek, A)
    assert target.getvalue() == b""


class Swapped(io.BytesIO):
    """Shows good bytes to the first reader and other ones to the second: somebody writes to the file in between."""

    def __init__(self, data: bytes, change: Callable[[bytes], bytes]) -> None:
        super().__init__(data)
        self._change, self._data = change, data
        self._turns = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._turns += whence == io.SEEK_SET
        if self._turns == 2:
            super().seek(0)
            self.truncate()
            self.write(self._change(self._data))
        return super().seek(offset, whence)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:], id="a bit"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut"),
        pytest.param(lambda data: bytes(len(data)), id="another file"),
    ],
)
def test_a_source_that_changes_after_it_was_verified_gives_only_what_was_verified(
    keys: Keys, change: Callable[[bytes], bytes]
) -> None:
    edek, data = sealed(text(2 * CHUNK))
    target = io.BytesIO()
    with pytest.raises(InvalidCiphertext):
        documents.decrypt_stream(Swapped(data, change), target, edek, A)
    assert text(2 * CHUNK).startswith(target.getvalue())
    assert len(target.getvalue()) in (0, CHUNK)


@every_format
def test_another_tenant_costs_no_key(keys: Keys, form: Format) -> None:
    edek, data = sealed(b"x", form)
    keys.calls.clear()
    with pytest.raises(InvalidCiphertext):
        documents.decrypt_stream(io.BytesIO(data), io.BytesIO(), edek, B)
    assert keys.calls == []


@every_format
def test_refuses_to_seal_twice_before_it_writes(keys: Keys, form: Format) -> None:
    _, data = sealed(text(100), form)
    target = io.BytesIO()
    for run in (documents.encrypt_stream, attached.encrypt_stream):
        with pytest.raises(documents.AlreadyEncrypted):
            run(io.BytesIO(data), target, A)
    assert target.getvalue() == b""


def test_an_unsigned_stream_needs_trust(keys: Keys) -> None:
    wrapped, target = keys.wrap(A), io.BytesIO()
    with DocumentKey(wrapped.dek) as key:
        data = v3.MAGIC + bytes(2) + key.seal(b"old")
    with pytest.raises(InvalidCiphertext):
        documents.decrypt_stream(io.BytesIO(data), target, wrapped.edek, A)
    documents.decrypt_stream(io.BytesIO(data), target, wrapped.edek, A, trust=Trust(unsigned=True))
    assert target.getvalue() == b"old"


def test_a_source_that_has_nothing_yet_is_not_taken_for_its_end(keys: Keys) -> None:
    class Waiting(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> None:
            return None

    with pytest.raises(BlockingIOError):
        documents.encrypt_stream(Waiting(), io.BytesIO(), A)  # type: ignore[arg-type]


def test_no_stream_is_longer_than_one_nonce_allows(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    edek, data = sealed(text(2 * CHUNK))
    monkeypatch.setattr(stream, "MAX_STREAM", CHUNK)
    with pytest.raises(ValueError, match="64 GiB"):
        sealed(text(2 * CHUNK))
    with pytest.raises(InvalidCiphertext):
        opened(data, edek)


def test_memory_does_not_grow_with_the_document(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("stream")
    with (folder / "plain").open("wb") as file:
        for _ in range(64):
            file.write(bytes(CHUNK))
    tracemalloc.start()
    try:
        with (folder / "plain").open("rb") as source, (folder / "sealed").open("wb") as out:
            edek = documents.encrypt_stream(source, out, A)
        with (folder / "sealed").open("rb") as source, (folder / "again").open("wb") as out:
            assert documents.decrypt_stream(source, out, edek, A) == 64 * CHUNK
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000
