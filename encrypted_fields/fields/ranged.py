"""Stored files read by ranges where the Storage can: seeking in an object of S3 fetches what is looked at, no more.

django-storages opens an S3 object by downloading it whole into a temporary file. Here each read is a GET with a Range,
and reading on fetches more at once (up to 1 MiB), so that a whole file costs about one request a MiB.
"""

from __future__ import annotations

import io
import sys
from typing import Any, BinaryIO, cast

from django.core.files.storage import Storage

FIRST, MOST = 8 * 1024, 1024 * 1024  # bytes of the first request (it holds any header), and of the largest
_PASSED_ON = {"VersionId", "SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", "RequestPayer"}


def open_stored(storage: Storage, name: str) -> BinaryIO:
    """The sealed bytes, seekable. A Storage of your own may offer `open_ranged(name)`, a seekable binary file."""
    own = getattr(storage, "open_ranged", None)
    if own is not None:
        return cast(BinaryIO, own(name))
    s3: Any = sys.modules.get("storages.backends.s3")
    # what a Storage compresses has to be fetched whole
    if s3 is not None and isinstance(storage, s3.S3Storage) and not cast(Any, storage).gzip:
        found = _open_s3(cast(Any, storage), name)
        if found is not None:
            return cast(BinaryIO, found)
    return cast(BinaryIO, storage.open(name, "rb"))


def _open_s3(storage: Any, name: str) -> S3Object | None:
    """None where the service answers a Range with everything. FileNotFoundError when there is no such object."""
    key = storage._normalize_name(name)
    about = {key: value for key, value in storage.get_object_parameters(name).items() if key in _PASSED_ON}
    client = storage.connection.meta.client
    missing = False
    try:
        answer = client.get_object(Bucket=storage.bucket_name, Key=key, Range=f"bytes=0-{FIRST - 1}", **about)
    except client.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 416:  # an empty object has no first byte
            return None
        if status != 404:
            raise
        missing = True
    if missing:
        raise FileNotFoundError(f"File does not exist: {name}")
    with answer["Body"] as body:
        if "ContentRange" not in answer:
            return None
        first = body.read()
    about |= {"Bucket": storage.bucket_name, "Key": key, "IfMatch": answer["ETag"]}
    return S3Object(client, about, first, int(answer["ContentRange"].rpartition("/")[2]))


class S3Object(io.RawIOBase):
    """One version of one object: if it is replaced while it is read, the next GET fails (If-Match)."""

    def __init__(self, client: Any, about: dict[str, Any], first: bytes, size: int) -> None:
        self._client, self._about, self._size = client, about, size
        self._first, self._window, self._window_at = first, b"", 0
        self._position, self._ahead = 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        at = self._position
        if at >= self._size or not len(buffer):
            return 0
        if at < len(self._first):
            part = self._first[at : at + len(buffer)]
        else:
            if not self._window_at <= at < self._window_at + len(self._window):
                self._fetch(at, len(buffer))
            start = at - self._window_at
            part = self._window[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _fetch(self, at: int, wanted: int) -> None:
        """One GET: as much as is wanted, and more each time that somebody reads on where the last one ended."""
        reads_on = bool(self._window) and at == self._window_at + len(self._window)
        self._ahead = min(MOST, max(2 * self._ahead, 2 * wanted)) if reads_on else 0
        end = min(self._size, at + max(wanted, self._ahead))
        self._window = b""  # freed before the next one comes
        answer = self._client.get_object(Range=f"bytes={at}-{end - 1}", **self._about)
        with answer["Body"] as body:
            data: bytes = body.read()
        if len(data) != end - at:
            raise OSError("the object store answered with another range than was asked for")
        self._window, self._window_at = data, at
