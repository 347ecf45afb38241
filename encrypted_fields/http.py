"""Serving an encrypted file: whole or in ranges, opened while it is sent, kept by no cache.

def letter(request, pk):
    return encrypted_response(request, get_object_or_404(Letter, pk=pk).file)
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header

from encrypted_fields.core.stream import CHUNK

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
# what a browser shows without running anything in the name of your site
_SHOWN = {"application/pdf", "image/avif", "image/gif", "image/jpeg", "image/png", "image/webp", "text/plain"}


def encrypted_response(
    request: HttpRequest,
    file: Any,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    as_attachment: bool = True,
) -> HttpResponseBase:
    """The plaintext of `file` (the attribute of an EncryptedFileField): 200, 206 for one Range, 304, 412 or 416.

    The name is the one that the file came with, and its type follows from that. `as_attachment=False` lets the browser
    show pictures, PDF, plain text, sound and film; all else stays a download. KmsRefused and its like before a byte is
    sent when access was withdrawn. Each chunk is authenticated before it leaves; should one be forged, the connection
    breaks off there, short of its Content-Length.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(closing(file._open_stored()))
        # another sealing has another salt: the tag says nothing of the content, and changes with it
        etag = f'"{sha256(opened.salt).hexdigest()[:32]}"'
        settled: HttpResponseBase | None = get_conditional_response(request, etag=etag)
        if settled is not None:
            return _guarded(settled, etag)
        size: int = opened.size
        span = _asked(request, etag, size)
        if span is not None and span[0] >= span[1]:
            return _guarded(HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"}), etag)
        start, end = span or (0, size)
        name = filename or opened.original_name
        kind = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        shown = not as_attachment and (kind in _SHOWN or kind.startswith(("audio/", "video/")))
        response = StreamingHttpResponse(status=200 if span is None else 206, content_type=kind)
        response.headers["Content-Length"] = str(end - start)
        response.headers["Content-Disposition"] = content_disposition_header(not shown, name) or "inline"
        if span is not None:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if request.method != "HEAD":
            asgi = isinstance(request, ASGIRequest)
            response.streaming_content = _abody(opened, start, end) if asgi else _body(opened, start, end)
            response._resource_closers.append(stack.pop_all().close)  # type: ignore[attr-defined]
        return _guarded(response, etag)


async def aencrypted_response(request: HttpRequest, file: Any, **options: Any) -> HttpResponseBase:
    """`encrypted_response` for an async view: neither the proxy nor the storage blocks the event loop."""
    return await sync_to_async(encrypted_response)(request, file, **options)


def _asked(request: HttpRequest, etag: str, size: int) -> tuple[int, int] | None:
    """(start, end) of the one Range of a GET; start >= end: none of it exists. None: send everything, as RFC 9110 has
    it for several ranges, for other units and nonsense, and when If-Range names another version."""
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if request.method != "GET" or not found or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _guarded(response: HttpResponseBase, etag: str) -> HttpResponseBase:
    response.headers["ETag"] = etag
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _body(opened: Any, start: int, end: int) -> Iterator[bytes]:
    opened.seek(start)
    while start < end and (data := opened.read(min(CHUNK, end - start))):
        start += len(data)
        yield data


async def _abody(opened: Any, start: int, end: int) -> AsyncIterator[bytes]:
    read = sync_to_async(opened.read, thread_sensitive=False)
    opened.seek(start)
    while start < end and (data := await read(min(CHUNK, end - start))):
        start += len(data)
        yield data
