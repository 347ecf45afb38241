"""Encrypted files in S3, through django-storages against moto's server: read by ranges, never overwritten."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from django.core.files.base import ContentFile, File
from django.test import RequestFactory
from storages.backends.s3 import S3File, S3Storage

from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.stream import CHUNK, SEALED_CHUNK
from encrypted_fields.fields.ranged import FIRST, S3Object, open_stored
from encrypted_fields.http import encrypted_response
from encrypted_fields.testing import MemoryTsp
from tests.sample_app.models import Scan
from tests.support.moto import Moto

pytestmark = pytest.mark.django_db
ACCESS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = Moto()
    boto3.client("s3", endpoint_url=server.url, **ACCESS).create_bucket(Bucket="files")
    yield server.url
    server.stop()


class Watched(S3Storage):
    """Notes each GET: (Range, bytes that came)."""

    gets: list[tuple[str | None, int]]

    def watch(self) -> list[tuple[str | None, int]]:
        self.gets, asked = [], []
        events = self.connection.meta.client.meta.events
        events.register("before-parameter-build.s3.GetObject", lambda params, **_: asked.append(params.get("Range")))
        events.register(
            "after-call.s3.GetObject",
            lambda parsed, **_: self.gets.append((asked[-1], int(parsed.get("ContentLength", 0)))),
        )
        return self.gets


@pytest.fixture
def storage(moto: str, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Watched:
    found = Watched(
        bucket_name="files", endpoint_url=moto, access_key="testing", secret_key="testing", region_name="us-east-1",
        location=os.urandom(4).hex(),
    )  # fmt: skip
    monkeypatch.setattr(Scan._meta.get_field("image"), "storage", found)
    return found


def scan(data: bytes, name: str = "scan.png") -> Scan:
    Scan.objects.create(tenant_id="north", image=ContentFile(data, name))
    return Scan.objects.get()


@pytest.mark.parametrize("size", [0, 1, FIRST, CHUNK + 1, 20 * CHUNK + 7])
def test_keeps_what_was_saved(storage: Watched, size: int) -> None:
    """The larger one is uploaded in parts."""
    storage.transfer_config.multipart_threshold = storage.transfer_config.multipart_chunksize = 5 * 1024 * 1024
    data = os.urandom(size)
    one = scan(data)
    with one.image.open() as file:
        assert (file.size, file.read()) == (size, data)
        file.seek(size // 2)
        assert file.read(10) == data[size // 2 :][:10]


def test_uploads_in_parts(storage: Watched) -> None:
    storage.transfer_config.multipart_threshold = storage.transfer_config.multipart_chunksize = 5 * 1024 * 1024
    data = os.urandom(11 * 1024 * 1024)
    one = scan(data)
    with one.image.open() as file:
        assert file.read() == data


def test_one_kib_from_the_middle_does_not_fetch_the_rest(storage: Watched) -> None:
    data = os.urandom(100 * CHUNK)
    one = scan(data)
    gets = storage.watch()
    request = RequestFactory().get("/", headers={"Range": f"bytes={50 * CHUNK}-{50 * CHUNK + 1023}"})
    response: Any = encrypted_response(request, one.image)
    assert b"".join(response.streaming_content) == data[50 * CHUNK :][:1024]
    response.close()
    assert len(gets) == 3
    assert sum(size for _, size in gets) <= FIRST + 2 * SEALED_CHUNK


def test_reading_on_asks_for_more_at_once(storage: Watched) -> None:
    data = os.urandom(200 * CHUNK)
    one = scan(data)
    gets = storage.watch()
    tracemalloc.start()
    try:
        with one.image.open() as file:
            total = sum(len(part) for part in file.chunks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == len(data)
    assert peak < 4 * 1024 * 1024
    assert len(gets) <= 25
    assert max(size for _, size in gets) <= 1024 * 1024
    assert sum(size for _, size in gets) <= storage.size(one.image.name) + FIRST + 2 * SEALED_CHUNK


def test_a_failed_replacement_leaves_the_old_object(storage: Watched) -> None:
    """S3Storage overwrites by default; our names are fresh, so nothing is there to be overwritten."""
    assert storage.file_overwrite
    one = scan(b"old")

    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise TimeoutError
            return super().read(size)

    with pytest.raises(TimeoutError):
        one.image.save("scan.png", File(Breaking(bytes(3 * CHUNK)), "scan.png"), save=False)
    with Scan.objects.get().image.open() as file:
        assert file.read() == b"old"
    assert len(storage.listdir("scans")[1]) == 1


def test_a_changed_object_is_refused(storage: Watched) -> None:
    one = scan(os.urandom(5 * CHUNK))
    sealed = storage.bucket.Object(storage._normalize_name(one.image.name))
    data = bytearray(sealed.get()["Body"].read())
    file = one.image.open()
    sealed.put(Body=bytes(data[:-1]))
    with pytest.raises(Exception, match="PreconditionFailed"):  # not the object that was opened
        file.read()
    file.close()
    with pytest.raises(InvalidCiphertext):
        Scan.objects.get().image.open()
    sealed.delete()
    with pytest.raises(FileNotFoundError):
        Scan.objects.get().image.open()


def test_what_the_storage_compresses_is_fetched_whole(storage: Watched) -> None:
    """A range of compressed bytes is no range of the file."""
    one = scan(b"text")
    for gzip, kind in ((False, S3Object), (True, S3File)):
        storage.gzip = gzip
        with open_stored(storage, one.image.name) as raw:
            assert type(raw) is kind
