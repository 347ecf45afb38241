"""Serving encrypted files: ranges, conditions and HEAD as RFC 9110 has them, flat memory, never a forged byte."""

from __future__ import annotations

import http.client
import io
import os
import tracemalloc
from collections.abc import AsyncIterable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage
from django.http import StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, RequestFactory

from encrypted_fields.core.errors import InvalidCiphertext, KmsRefused
from encrypted_fields.core.stream import CHUNK, SEALED_CHUNK
from encrypted_fields.http import aencrypted_response, encrypted_response
from encrypted_fields.testing import MemoryTsp
from tests.sample_app.models import Photo, Scan

pytestmark = pytest.mark.django_db
DATA = os.urandom(5 * CHUNK + 100)
SIZE = len(DATA)


@pytest.fixture(autouse=True)
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Scan:
    monkeypatch.setattr(Scan._meta.get_field("image"), "storage", FileSystemStorage(tmp_path))
    Scan.objects.create(tenant_id="north", image=ContentFile(DATA, "scan.png"))
    return Scan.objects.get()


def ask(one: Scan, method: str = "get", *, options: Any = None, **headers: str) -> Any:
    request = getattr(RequestFactory(), method)("/", headers={k.replace("_", "-"): v for k, v in headers.items()})
    return encrypted_response(request, one.image, **(options or {}))


def body(response: Any) -> bytes:
    data = b"".join(response.streaming_content) if response.streaming else response.content
    response.close()
    return cast(bytes, data)


def test_sends_the_whole_file_and_lets_nobody_keep_it(one: Scan) -> None:
    response = ask(one)
    assert body(response) == DATA
    assert response.status_code == 200
    headers = dict(response.headers)
    assert headers.pop("ETag").startswith('"')
    assert headers == {
        "Content-Type": "image/png",
        "Content-Length": str(SIZE),
        "Content-Disposition": 'attachment; filename="scan.png"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        (f"bytes={CHUNK - 1}-{CHUNK}", CHUNK - 1, CHUNK + 1),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=100-", 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes=10-{SIZE * 2}", 10, SIZE),
        ("bytes=0-", 0, SIZE),
    ],
)
def test_sends_one_range(one: Scan, wanted: str, start: int, end: int) -> None:
    response = ask(one, Range=wanted)
    assert (response.status_code, body(response)) == (206, DATA[start:end])
    assert response["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response["Content-Length"] == str(end - start)


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
def test_says_that_a_range_does_not_exist(one: Scan, wanted: str) -> None:
    response = ask(one, Range=wanted)
    assert (response.status_code, body(response)) == (416, b"")
    assert response["Content-Range"] == f"bytes */{SIZE}"
    assert response["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    "wanted", ["bytes=1-2,5-6", "bytes=9-3", "bytes=-", "bytes=a-b", "chunks=1-2", "bytes 1-2", "bytes=1-²"]
)
def test_sends_everything_for_what_it_does_not_read(one: Scan, wanted: str) -> None:
    response = ask(one, Range=wanted)
    assert (response.status_code, body(response)) == (200, DATA)


def test_a_range_of_another_version_gets_the_new_one_whole(one: Scan) -> None:
    etag = ask(one, "head")["ETag"]
    response = ask(one, Range="bytes=0-4", If_Range=etag)
    assert (response.status_code, body(response)) == (206, DATA[:5])
    for other in ('"another"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        response = ask(one, Range="bytes=0-4", If_Range=other)
        assert (response.status_code, body(response)) == (200, DATA)


def test_conditions_hold(one: Scan) -> None:
    etag = ask(one, "head")["ETag"]
    response = ask(one, If_None_Match=etag)
    assert (response.status_code, body(response), response["ETag"]) == (304, b"", etag)
    assert response["Cache-Control"] == "private, no-store"
    response = ask(one, If_Match='"another"')
    assert (response.status_code, body(response)) == (412, b"")


def test_head_tells_and_sends_nothing(one: Scan) -> None:
    response = ask(one, "head", Range="bytes=0-4")
    assert (response.status_code, body(response), response["Content-Length"]) == (200, b"", str(SIZE))


def test_the_tag_says_nothing_of_the_content(one: Scan) -> None:
    """The same content sealed twice has two tags; the same sealing always one."""
    first = ask(one, "head")["ETag"]
    assert ask(Scan.objects.get(), "head")["ETag"] == first
    one.image.save("scan.png", ContentFile(DATA))
    assert ask(one, "head")["ETag"] != first


def test_shows_only_what_runs_nothing(one: Scan) -> None:
    shown = {"as_attachment": False}
    assert ask(one, "head", options=shown)["Content-Disposition"] == 'inline; filename="scan.png"'
    for name in ("page.html", "drawing.svg", "x.xml", "script.js", "unknown"):
        response = ask(one, "head", options={**shown, "filename": name})
        assert response["Content-Disposition"].startswith("attachment")
    assert ask(one, "head", options={"filename": "ä\r\nX: y"})["Content-Disposition"].isascii()
    assert ask(one, "head", options={"content_type": "text/csv"})["Content-Type"] == "text/csv"


def test_takes_name_and_type_from_the_sealed_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Photo._meta.get_field("picture"), "storage", FileSystemStorage(tmp_path))
    from tests.encrypted_fields.pictures import picture

    photo = Photo.objects.create(tenant_id="north", picture=picture(2, 2, "Knie.png"))
    response = encrypted_response(RequestFactory().head("/"), photo.picture)
    assert (response["Content-Type"], response["Content-Disposition"]) == (
        "image/png",
        'attachment; filename="Knie.png"',
    )


def test_an_empty_file(tmp_path: Path) -> None:
    empty = Scan.objects.create(tenant_id="north", image=ContentFile(b"", "empty.txt"))
    assert body(ask(empty)) == b""
    assert ask(empty, Range="bytes=0-").status_code == 416


def test_a_refusal_comes_before_the_first_byte(one: Scan, cmk_tsp: MemoryTsp) -> None:
    cmk_tsp.revoke("north")
    for method in ("get", "head"):
        with pytest.raises(KmsRefused):
            ask(Scan.objects.get(), method)


def test_no_forged_byte_leaves(one: Scan) -> None:
    """A flipped bit in the third chunk: what was sent before it is authentic, and then the connection breaks."""
    file = Path(one.image.path)
    data = bytearray(file.read_bytes())
    data[len(data) - 3 * SEALED_CHUNK - 116 - 1] ^= 1
    file.write_bytes(data)
    response = ask(one)
    parts: list[bytes] = []
    with pytest.raises(InvalidCiphertext):
        parts.extend(response.streaming_content)
    response.close()
    sent = b"".join(parts)
    assert sent == DATA[: len(sent)]
    assert len(sent) <= 2 * CHUNK < SIZE
    file.write_bytes(data[:-1])
    with pytest.raises(InvalidCiphertext):
        ask(one)


def test_one_kib_from_the_middle_reads_two_chunks(one: Scan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read: list[int] = []

    class Counted(io.FileIO):
        def readinto(self, buffer: Any) -> int:  # type: ignore[override]
            found = super().readinto(buffer) or 0
            read.append(found)
            return found

        def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            data = super().read(-1 if size is None else size) or b""
            read.append(len(data))
            return data

    class Counting(FileSystemStorage):
        def open_ranged(self, name: str) -> Any:
            return Counted(self.path(name))

    monkeypatch.setattr(Scan._meta.get_field("image"), "storage", Counting(tmp_path))
    response = ask(one, Range=f"bytes={SIZE // 2}-{SIZE // 2 + 1023}")
    assert body(response) == DATA[SIZE // 2 :][:1024]
    assert sum(read) <= 2 * SEALED_CHUNK + 5000  # twice the header


def test_closes_what_it_opened(one: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    real = type(one.image)._open_stored
    monkeypatch.setattr(type(one.image), "_open_stored", lambda self: opened.append(real(self)) or opened[-1])
    for method, headers in (("get", {}), ("head", {}), ("get", {"Range": "bytes=-0"}), ("get", {"If_None_Match": "*"})):
        response = ask(one, method, **headers)
        if method == "get" and not headers:
            next(iter(response.streaming_content))  # and then the client hangs up
        response.close()
    assert [file.closed for file in opened] == [True] * 4


class Zeros(io.RawIOBase):
    """A file of zeros that lies nowhere."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self.left)
        buffer[:count] = bytes(count)
        self.left -= count
        return count


def test_sends_64_mib_in_constant_memory() -> None:
    size = 64 * 1024 * 1024
    source = File(Zeros(size), "big.bin")  # type: ignore[arg-type]
    source.size = size  # type: ignore[misc]
    tracemalloc.start()
    try:
        big = Scan.objects.create(tenant_id="north", image=source)
        response = ask(big)
        total = sum(len(part) for part in response.streaming_content)
        response.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == size
    assert peak < 4 * 1024 * 1024


@pytest.mark.django_db(transaction=True)
async def test_streams_in_an_event_loop(one: Scan) -> None:
    request = AsyncRequestFactory().get("/", headers={"Range": f"bytes={CHUNK}-{3 * CHUNK}"})
    response = cast(StreamingHttpResponse, await aencrypted_response(request, one.image))
    assert response.is_async
    assert not isinstance(response.streaming_content, Iterable)
    parts = [part async for part in cast(AsyncIterable[bytes], response.streaming_content)]
    assert b"".join(parts) == DATA[CHUNK : 3 * CHUNK + 1]
    assert max(map(len, parts)) <= CHUNK
    response.close()


@pytest.mark.django_db(transaction=True)
def test_over_a_real_connection(one: Scan, live_server: Any, settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.encrypted_fields.file_urls"
    connection = http.client.HTTPConnection(live_server.thread.host, live_server.thread.port, timeout=20)
    for method, wanted, status, expected in [
        ("GET", None, 200, DATA),
        ("GET", f"bytes={CHUNK}-{CHUNK + 99}", 206, DATA[CHUNK : CHUNK + 100]),
        ("GET", f"bytes={SIZE}-", 416, b""),
        ("HEAD", None, 200, b""),
    ]:
        connection.request(method, f"/scans/{one.pk}/", headers={"Range": wanted} if wanted else {})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, expected)
        assert answer.headers["Cache-Control"] == "private, no-store"
        if method == "HEAD":
            assert answer.headers["Content-Length"] == str(SIZE)
    connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["scans", "async"])
async def test_through_the_asgi_handler(one: Scan, settings: Any, page: str) -> None:
    """A sync view and an async one; either way the body is not collected in memory first."""
    settings.ROOT_URLCONF = "tests.encrypted_fields.file_urls"
    answer: Any = await AsyncClient().get(f"/{page}/{one.pk}/", headers={"Range": "bytes=10-99999"})
    assert (answer.status_code, answer.is_async) == (206, True)
    assert b"".join([part async for part in answer.streaming_content]) == DATA[10:100_000]
    answer.close()
