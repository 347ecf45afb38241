"""Uploads that lie nowhere in clear while they are received."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile
from django.core.files.uploadhandler import StopUpload
from django.test import RequestFactory
from django.test.client import encode_file

from encrypted_fields.core.spool import Spool
from encrypted_fields.core.stream import CHUNK
from encrypted_fields.testing import MemoryTsp
from encrypted_fields.uploads import SealedUploadedFile, SealedUploadHandler
from tests.encrypted_fields.pictures import picture
from tests.sample_app.models import Photo, Scan

HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "encrypted_fields.uploads.SealedUploadHandler",
]


@pytest.fixture(autouse=True)
def _handlers(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_HANDLERS = HANDLERS
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 100
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


def received(**files: bytes) -> Any:
    uploads = {name: SimpleUploadedFile(f"{name}.bin", data) for name, data in files.items()}
    return RequestFactory().post("/", uploads).FILES


@pytest.mark.parametrize("size", [101, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 7])
def test_gives_back_what_came(size: int) -> None:
    one, other = os.urandom(size), os.urandom(size)
    files = received(one=one, other=other)
    for name, data in (("one", one), ("other", other)):
        upload = files[name]
        assert isinstance(upload, SealedUploadedFile)
        assert (upload.size, upload.name, upload.read()) == (size, f"{name}.bin", data)
        upload.seek(size // 2)
        assert upload.read(9) == data[size // 2 :][:9]
        assert b"".join(upload.chunks()) == data
        upload.close()


def test_a_small_upload_stays_in_memory(settings: Any) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10_000
    assert isinstance(received(one=b"small")["one"], InMemoryUploadedFile)


def test_no_plaintext_lies_on_disk(tmp_path: Path) -> None:
    """Looked at through the process's own table of open files, since the temporary file has no name."""
    data = b"a canary that must not be written " * 10_000
    files = received(one=data)
    assert list(tmp_path.iterdir()) == []
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.startswith(str(tmp_path)):
            size = os.stat(entry).st_size
            found.append(os.pread(int(entry.name), size, 0))
    assert len(found) == 1
    assert len(found[0]) > len(data)
    assert b"canary" not in found[0]
    assert not hasattr(files["one"], "temporary_file_path")
    files["one"].close()


@pytest.mark.django_db
def test_is_sealed_into_a_field(cmk_tsp: MemoryTsp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scan._meta.get_field("image"), "storage", FileSystemStorage(tmp_path))
    monkeypatch.setattr(Photo._meta.get_field("picture"), "storage", FileSystemStorage(tmp_path))
    data = os.urandom(3 * CHUNK)
    with received(one=data)["one"] as upload:
        Scan.objects.create(tenant_id="north", image=upload)
    with Scan.objects.get().image.open() as file:
        assert file.read() == data
    upload = RequestFactory().post("/", {"p": picture(400, 300)}).FILES["p"]
    assert isinstance(upload, SealedUploadedFile)
    Photo.objects.create(tenant_id="north", picture=upload)
    assert Photo.objects.get().width == 400
    upload.close()


def test_an_upload_that_breaks_off_leaves_nothing(settings: Any, tmp_path: Path) -> None:
    spools: list[Spool] = []

    class Breaking(SealedUploadHandler):
        def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
            spools.append(self.file)
            if start:
                raise StopUpload(connection_reset=True)
            super().receive_data_chunk(raw_data, start)

    body = b"".join(
        part + b"\r\n" for part in [*encode_file("B", "f", SimpleUploadedFile("f.bin", bytes(9 * CHUNK))), b"--B--"]
    )
    request = RequestFactory().generic("POST", "/", body, content_type="multipart/form-data; boundary=B")
    request.upload_handlers = [Breaking(request)]
    assert not request.FILES
    assert spools[0]._file.closed
    assert not any(spools[0]._key)


def test_a_spool_that_was_changed_on_disk_is_refused() -> None:
    from encrypted_fields.core.errors import InvalidCiphertext

    spool = Spool()
    spool.write(bytes(2 * CHUNK))
    reader = spool.finish()
    spool._file.seek(200)
    spool._file.write(b"x")
    with pytest.raises(InvalidCiphertext):
        reader.read(1)
    spool.close()
    assert isinstance(reader, io.RawIOBase)


def test_the_deploy_check_names_the_handler_that_writes_in_clear(settings: Any) -> None:
    from encrypted_fields.fields.file_checks import check_uploads

    assert check_uploads() == []
    settings.FILE_UPLOAD_HANDLERS = [HANDLERS[0], "django.core.files.uploadhandler.TemporaryFileUploadHandler"]
    (found,) = check_uploads()
    assert found.id == "encrypted_fields.W050"
    assert check_uploads in checks.registry.registry.deployment_checks
