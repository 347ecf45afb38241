"""The commands of a move on S3, through django-storages against moto's server: by ranges, never on top of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from storages.backends.s3 import S3Storage

from encrypted_fields.core.stream import CHUNK
from encrypted_fields.fields.ranged import FIRST
from encrypted_fields.moving import headers
from encrypted_fields.moving.edek import facts
from encrypted_fields.moving.file_decrypting import FileDecryption
from encrypted_fields.moving.file_encrypting import FileEncryption
from encrypted_fields.moving.file_rekeying import FileRekeying
from encrypted_fields.moving.headers import head
from encrypted_fields.moving.status import status
from encrypted_fields.moving.table import Table
from tests.encrypted_fields.moving.parcels import Rows, keep_in
from tests.encrypted_fields.moving.test_rekey import NewPrimary
from tests.support.moto import Moto

ACCESS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = Moto()
    boto3.client("s3", endpoint_url=server.url, **ACCESS).create_bucket(Bucket="files")
    yield server.url
    server.stop()


@pytest.fixture
def storage(moto: str, monkeypatch: pytest.MonkeyPatch) -> S3Storage:
    """It overwrites, as S3Storage does unless told otherwise."""
    found = S3Storage(
        bucket_name="files", endpoint_url=moto, access_key="testing", secret_key="testing", region_name="us-east-1",
        location=os.urandom(4).hex(),
    )  # fmt: skip
    keep_in(found, monkeypatch)
    return found


def sizes(storage: S3Storage) -> list[int]:
    """Of all objects."""
    return sorted(int(storage.size(f"slips/{name}")) for name in storage.listdir("slips")[1])


def test_there_rekeyed_and_back(database: str, storage: S3Storage) -> None:
    """Also a file that is uploaded in parts. At each step there is one object a row, and it is the right one."""
    storage.transfer_config.multipart_threshold = storage.transfer_config.multipart_chunksize = 5 * 1024 * 1024
    data = [b"", b"small", os.urandom(CHUNK), os.urandom(6 * 1024 * 1024 + 1)]
    for n, one in enumerate(data):
        Rows("before", database).new(one, f"slip-{n}.txt", note=str(n))
    assert sizes(storage) == sorted(map(len, data))
    last, back, first = Rows("encrypted", database), Rows("dual", database), Rows("plaintext", database)
    with NewPrimary() as tsp:
        assert Rows("readable", database).read() == data
        assert last.job(FileEncryption).run().written == 4
        assert last.read() == data
        tsp.renewed = True
        assert last.job(FileRekeying).run().written == 4
        assert [facts(head(storage, row.slip.name).edek).config for row in last.all.all()] == [2] * 4  # type: ignore[union-attr]
        assert last.read() == Rows("after", database).read() == data
        assert len(sizes(storage)) == 4
        assert back.job(FileDecryption).run().written == 4
        assert first.job(FileDecryption).run().written == 4
    assert Rows("before", database).read() == data
    assert sizes(storage) == sorted(map(len, data))


def test_a_header_is_one_short_request(database: str, storage: S3Storage) -> None:
    """`encryption_status` of large files."""
    rows = Rows("encrypted", database)
    with NewPrimary():
        for n in range(3):
            rows.new(os.urandom(20 * CHUNK), note=str(n))
    gets, came = list[Any](), list[int]()
    events = storage.connection.meta.client.meta.events
    events.register("before-parameter-build.s3.GetObject", lambda params, **_: gets.append(params.get("Range")))
    events.register("after-call.s3.GetObject", lambda parsed, **_: came.append(int(parsed.get("ContentLength", 0))))
    with pytest.MonkeyPatch.context() as patch:
        # each thread has a connection of its own, and this one is watched
        patch.setattr(headers, "each", lambda look, names: [look(name) for name in names])
        told = status(Table(rows.model, database), rows.model._meta.get_field("slip"))
    assert (told.sealed, dict(told.keys)) == (3, {(1, 0): 3})
    assert gets == [f"bytes=0-{FIRST - 1}"] * 3
    assert sum(came) <= 3 * FIRST
