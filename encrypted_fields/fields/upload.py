"""What a Storage reads when it saves an encrypted file: the sealed form, made while it is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from django.core.files.base import File

from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.stream import CHUNK, SEALED_CHUNK, SealingReader

if TYPE_CHECKING:
    _BytesFile = File[bytes]
else:
    _BytesFile = File


class Upload(_BytesFile):
    """The sealed form of `source`, in constant memory. It can be read again from the start (checksums, retries of an
    object store) as long as `source` can, and gives the same bytes; a source that changed meanwhile is a ValueError.

    With `sealed_name` the file keeps that name inside.
    """

    def __init__(
        self, source: File[Any], dek: bytearray, edek: bytes, context: ValueContext, sealed_name: str | None = None
    ) -> None:
        if source.seekable():
            source.seek(0)
        self._source = source
        self._reader = SealingReader(cast(BinaryIO, source), dek, edek, context, sealed_name)
        self._at = self._made = 0  # where the Storage stands, and where the reader does
        super().__init__(cast(Any, self._reader), source.name)

    @property
    def size(self) -> int:
        return self._reader.sealed_size(self._source.size)

    @property
    def finished(self) -> bool:
        """Whether the Storage has taken all of it."""
        return self._reader.finished

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end."""
        self._go()
        if size is None or size < 0:
            data = self._reader.readall()
        else:
            parts: list[bytes] = []
            while size > 0 and (part := self._reader.read(size)):
                parts.append(part)
                size -= len(part)
            data = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._took(data)

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        self.seek(0)
        self._go()
        while data := self._reader.read(chunk_size or SEALED_CHUNK):
            yield self._took(data)

    def multiple_chunks(self, chunk_size: int | None = None) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return self._source.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = self._at if whence == io.SEEK_CUR else self.size if whence == io.SEEK_END else 0
        if base + offset < 0:
            raise ValueError("seek before the start of the file")
        self._at = base + offset
        return self._at

    def _took(self, data: bytes) -> bytes:
        self._made += len(data)
        self._at = self._made
        return data

    def _go(self) -> None:
        """Bring the reader to where the Storage stands."""
        if self._at < self._made:
            if not self._source.seekable():
                raise io.UnsupportedOperation("the file that is being sealed cannot be read twice")
            self._reader.rewind()
            self._made = 0
        while self._made < self._at and (skipped := self._reader.read(min(CHUNK, self._at - self._made))):
            self._made += len(skipped)


def store(
    storage: Any, name: str, upload: Any, max_length: int | None, drop: Callable[[str], None] | None = None
) -> str:
    """The name under which the Storage has all of `upload`, which tells whether it was `finished`. What was stored of a
    failed one is removed, or handed to `drop`: the name must be fresh, so that it is nobody else's."""
    done = False
    try:
        found = str(storage.save(name, upload, max_length=max_length))
        done = upload.finished
        if not done:
            raise OSError("the storage did not take the whole file")
        return found
    finally:
        if not done:
            with suppress(Exception):
                (drop or storage.delete)(name)
