"""Encrypted files: constant memory, seekable, bound to their row, refused when changed."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.db import models
from django.http import FileResponse

from encrypted_fields import EncryptedFileField, TenantConflict, tenant
from encrypted_fields.core.errors import InvalidCiphertext, KmsRefused, TspUnreachable
from encrypted_fields.core.stream import CHUNK, SEALED_CHUNK
from encrypted_fields.testing import MemoryTsp
from tests.sample_app.models import Scan

pytestmark = pytest.mark.django_db
FIELD: Any = Scan._meta.get_field("image")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(FIELD, "storage", FileSystemStorage(tmp_path))
    return tmp_path


def scan(data: bytes = b"a canary", tenant_id: str = "north") -> Scan:
    return Scan.objects.create(tenant_id=tenant_id, image=ContentFile(data, "scan.png"))


def content(one: Scan) -> bytes:
    with one.image.open() as file:
        return bytes(file.read())


def stored(one: Scan) -> Path:
    return Path(one.image.path)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_keeps_what_was_saved(cmk_tsp: MemoryTsp, size: int) -> None:
    data = os.urandom(size)
    one = scan(data)
    assert [call.route for call in cmk_tsp.calls] == ["wrap"]
    assert content(one) == data
    found = Scan.objects.get()
    assert found.image.size == size
    with found.image.open() as file:
        assert file.read() == data
        file.seek(size // 2)
        assert file.read() == data[size // 2 :]
    with Scan.objects.get().image as file:
        assert b"".join(file.chunks()) == data
    assert stored(one).stat().st_size == found.image.storage.size(found.image.name) > size
    assert data == b"" or len(data) < 8 or data not in stored(one).read_bytes()


def test_takes_every_kind_of_upload(cmk_tsp: MemoryTsp, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"from disk")
    temporary = TemporaryUploadedFile("t.bin", "application/octet-stream", 4, None)
    temporary.write(b"temp")
    temporary.seek(0)
    with source.open("rb") as handle:
        for upload, data in [
            (SimpleUploadedFile("s.bin", b"simple"), b"simple"),
            (temporary, b"temp"),
            (File(handle, "d.bin"), b"from disk"),
        ]:
            one = Scan.objects.create(tenant_id="north", image=upload)
            assert content(Scan.objects.get(pk=one.pk)) == data
    assert source.read_bytes() == b"from disk"  # the caller's file is never turned into ciphertext
    temporary.close()


def test_works_on_any_storage(cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FIELD, "storage", InMemoryStorage())
    one = scan(b"x" * 100_000)
    assert content(Scan.objects.get(pk=one.pk)) == b"x" * 100_000


def test_a_storage_may_read_twice_and_anywhere(
    cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Object stores ask for the length, make a checksum, and read again: they see one file."""
    seen: list[bytes] = []

    class Twice(FileSystemStorage):
        def _save(self, name: str, content: File) -> str:
            seen.append(content.read())
            assert content.seek(0, io.SEEK_END) == content.size == len(seen[0])
            assert content.read() == b""
            content.seek(CHUNK + 5)
            assert content.read(100) == seen[0][CHUNK + 5 :][:100]
            content.seek(0)
            seen.append(content.read(7) + content.read())
            return super()._save(name, content)

    monkeypatch.setattr(FIELD, "storage", Twice(tmp_path))
    data = os.urandom(2 * CHUNK)
    one = scan(data)
    assert seen[0] == seen[1] == stored(one).read_bytes()
    assert content(one) == data


def test_a_file_that_changes_between_two_readings_is_not_stored(
    cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """One nonce must never seal two contents."""
    source = io.BytesIO(b"x" * 1000)

    class Twice(FileSystemStorage):
        def _save(self, name: str, content: File) -> str:
            content.read()
            source.getbuffer()[5] = 0
            return super()._save(name, content)

    monkeypatch.setattr(FIELD, "storage", Twice(folder))
    with pytest.raises(ValueError, match="changed while"):
        Scan.objects.create(tenant_id="north", image=File(source, "scan.png"))
    assert not list(folder.rglob("*.png"))


def test_reads_a_range_without_the_rest(cmk_tsp: MemoryTsp) -> None:
    data = os.urandom(20 * CHUNK)
    scan(data)
    with Scan.objects.get().image.open() as file:
        file.seek(10 * CHUNK + 5)
        assert file.read(1024) == data[10 * CHUNK + 5 :][:1024]
    response = FileResponse(Scan.objects.get().image.open(), filename="scan.png")
    assert b"".join(response.streaming_content) == data  # type: ignore[arg-type]
    response.close()


def test_memory_stays_flat(cmk_tsp: MemoryTsp) -> None:
    class Zeros(io.RawIOBase):
        left = 32 * 1024 * 1024

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            count = min(len(buffer), self.left)
            buffer[:count] = bytes(count)
            self.left -= count
            return count

    source = File(Zeros(), "big.bin")  # type: ignore[arg-type]
    source.size = 32 * 1024 * 1024  # type: ignore[misc]
    tracemalloc.start()
    try:
        one = Scan.objects.create(tenant_id="north", image=source)
        with Scan.objects.get(pk=one.pk).image as file:
            total = sum(len(part) for part in file.chunks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 32 * 1024 * 1024
    assert peak < 4 * 1024 * 1024


@pytest.fixture
def big(cmk_tsp: MemoryTsp) -> Scan:
    scan(os.urandom(3 * CHUNK + 100))
    return Scan.objects.get()


def refused(one: Scan) -> None:
    with pytest.raises(InvalidCiphertext):
        content(Scan.objects.get(pk=one.pk))


def test_refuses_a_flipped_bit_anywhere(big: Scan) -> None:
    data = stored(big).read_bytes()
    for at in [0, 4, 5, 8, 40, 100, 200, len(data) // 2, len(data) - 1]:
        changed = bytearray(data)
        changed[at] ^= 1
        stored(big).write_bytes(changed)
        refused(big)


def test_refuses_cut_extended_and_rearranged_files(big: Scan) -> None:
    data = stored(big).read_bytes()
    start = len(data) - 3 * SEALED_CHUNK - 116
    first, second = data[start : start + SEALED_CHUNK], data[start + SEALED_CHUNK : start + 2 * SEALED_CHUNK]
    for changed in [
        b"",
        data[:10],
        data[:start],
        data[:-1],
        data[: start + SEALED_CHUNK],
        data + b"x",
        data + second,
        data[:start] + second + first + data[start + 2 * SEALED_CHUNK :],
    ]:
        stored(big).write_bytes(changed)
        refused(big)


def test_refuses_the_file_of_another_row_and_of_another_tenant(cmk_tsp: MemoryTsp) -> None:
    one, other, foreign = scan(b"one"), scan(b"other"), scan(b"foreign", "south")
    for source in (other, foreign):
        stored(one).write_bytes(stored(source).read_bytes())
        refused(one)


def test_names_the_refusal_when_access_is_withdrawn(cmk_tsp: MemoryTsp) -> None:
    scan()
    cmk_tsp.revoke("north")
    one = Scan.objects.get()
    assert one.image.locked
    with pytest.raises(KmsRefused):
        one.image.open()
    with pytest.raises(KmsRefused):
        one.image.size  # noqa: B018
    one.save()  # the name stays, and with it the file
    cmk_tsp.restore("north")
    assert not one.image.locked
    assert content(one) == b"a canary"
    cmk_tsp.failing = TspUnreachable()
    with pytest.raises(TspUnreachable):
        Scan.objects.get().image.locked  # noqa: B018


def test_stores_nothing_when_no_key_comes(cmk_tsp: MemoryTsp, folder: Path) -> None:
    cmk_tsp.revoke("north")
    with pytest.raises(KmsRefused):
        scan()
    assert list(folder.rglob("*.png")) == []


def test_the_tenant_is_never_contradicted(cmk_tsp: MemoryTsp) -> None:
    scan()
    with tenant("south"), pytest.raises(TenantConflict):
        Scan.objects.get().image.open()


def test_replacing_a_file_seals_the_new_one(cmk_tsp: MemoryTsp) -> None:
    one = scan(b"old")
    assert content(one) == b"old"
    one.image.save("new.png", ContentFile(b"new"))
    assert content(one) == content(Scan.objects.get()) == b"new"


def test_opens_for_reading_only(cmk_tsp: MemoryTsp) -> None:
    with pytest.raises(ValueError, match="opened for reading"):
        scan().image.open("wb")
    empty = Scan(tenant_id="north")
    assert not empty.image
    with pytest.raises(ValueError, match="no file"):
        empty.image.open()


def test_migrations_keep_the_options() -> None:
    field = EncryptedFileField(upload_to="x", tenant_from="owner", field_id="old", bind_row=False)
    _, path, args, kwargs = field.deconstruct()
    assert path == "encrypted_fields.EncryptedFileField"
    assert EncryptedFileField(*args, **kwargs).deconstruct() == field.deconstruct()
    assert kwargs == {"upload_to": "x", "tenant_from": "owner", "field_id": "old", "bind_row": False}
    assert isinstance(field, models.FileField)
