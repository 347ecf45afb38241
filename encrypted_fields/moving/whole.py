"""What a Storage reads when a plain file, or a sealed one under a new header, is stored: all of it, and it shows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from django.core.files.base import File

from encrypted_fields.core.stream import CHUNK

if TYPE_CHECKING:
    _BytesFile = File[bytes]
else:
    _BytesFile = File


class Whole(_BytesFile):
    """`head`, then `source` from `start` on, in constant memory. It can be read again if `source` can seek."""

    def __init__(self, source: Any, head: bytes = b"", start: int = 0) -> None:
        super().__init__(cast(Any, source), getattr(source, "name", None) or "file")
        self._source: BinaryIO = source
        self._head, self._start, self._at = head, start, 0
        size = getattr(source, "size", None)
        self._size = len(head) + int(source.seek(0, io.SEEK_END) if size is None else size) - start
        if source.seekable():
            source.seek(start)

    @property
    def size(self) -> int:
        return self._size

    @property
    def finished(self) -> bool:
        """Whether all of it was read."""
        return self._at == self._size

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end."""
        wanted = self._size - self._at if size is None or size < 0 else size
        parts = [self._head[self._at : self._at + wanted]] if self._at < len(self._head) else []
        wanted -= sum(map(len, parts))
        while wanted > 0 and (part := self._source.read(min(wanted, CHUNK))):
            parts.append(part)
            wanted -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._at += len(data)
        return data

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        self.seek(0)
        while data := self.read(chunk_size or CHUNK):
            yield data

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
        if not self.seekable():
            if base + offset == self._at:
                return self._at
            raise io.UnsupportedOperation("the file cannot be read twice")
        self._at = base + offset
        self._source.seek(self._start + max(0, self._at - len(self._head)))
        return self._at
