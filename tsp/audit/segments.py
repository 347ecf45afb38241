"""The spool's files: frames with a checksum, appended to numbered segments; a torn end is found and cut."""

from __future__ import annotations

import logging
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

SEGMENT_BYTES = 4 * 1024 * 1024
_MAGIC = b"cmk-spool-1\n"
_HEAD = struct.Struct(">IIB")  # length of queue and body, CRC-32 of what follows it, length of the queue's name
_ACK = struct.Struct(">I")  # where the body starts
_MAX_FRAME = 1_048_576
_log = logging.getLogger("tsp.audit.spool")
Found = tuple[str, int, int]  # a queue, where a body of it starts, and its length


def framed(bodies: Iterable[tuple[str, bytes]]) -> tuple[bytes, list[Found]]:
    """The frames of (queue, body) pairs, one behind the other, and where in them the bodies start.

    A frame is `u32 length ‖ u32 CRC-32 ‖ u8 n ‖ queue(n) ‖ body`, big-endian; the CRC covers all behind it.
    """
    parts: list[bytes] = []
    found: list[Found] = []
    at = 0
    for queue, body in bodies:
        name, start = _name(queue)
        many, length = len(name), len(body)
        parts += (_HEAD.pack(many + length, zlib.crc32(body, start), many), name, body)
        at += _HEAD.size + many
        found.append((queue, at, length))
        at += length
    return b"".join(parts), found


@lru_cache(4096)  # a queue has many events
def _name(queue: str) -> tuple[bytes, int]:
    """The bytes of the name, and the CRC-32 up to where the body starts."""
    name = queue.encode()
    return name, zlib.crc32(bytes((len(name),)) + name)


class Segment:
    """One append-only file. Acknowledged frames are listed by offset in a second file, which need not be durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.live = 0  # frames not acknowledged yet
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_DSYNC, 0o600)
        self._acked = os.open(path.with_suffix(".ack"), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._file).st_size

    def start(self, reserve: int = 0) -> None:
        """Write the head of a new segment and make its name durable. OSError if the disk will not.

        `reserve` bytes of the disk are asked for at once: a file that grows has its new length written with each
        append, which takes several times as long as the append itself. The zeros are cut off again at the end.
        """
        if reserve and sys.platform == "linux":
            try:
                os.posix_fallocate(self._file, 0, reserve)
            except OSError:  # a disk that is nearly full, or cannot do it: then the file grows
                os.ftruncate(self._file, 0)
        self.append(_MAGIC)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def append(self, data: bytes) -> int:
        """Write frames so that they are on disk: the offset of the first. On OSError nothing of them stays."""
        at = self.size
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, memoryview(data)[written:], at + written)
        except OSError:
            os.ftruncate(self._file, at)
            raise
        self.size = at + len(data)
        return at

    def read(self, at: int, length: int) -> bytes:
        return os.pread(self._file, length, at)

    def ack(self, offsets: Sequence[int]) -> None:
        """Not forced to disk: what a crash forgets is delivered once more, under the same id."""
        try:
            os.write(self._acked, struct.pack(f">{len(offsets)}I", *offsets))
        except OSError as error:
            _log.warning("what was delivered of %s cannot be noted: %s", self.path.name, error.strerror)

    def scan(self) -> Iterator[Found]:
        """The frames that are whole and not acknowledged. What follows the last whole one is cut: zeros if a crash
        left what was reserved, and what no write got to its end."""
        data, gone = self.read(0, self.size), self._acknowledged()
        at = whole = len(_MAGIC) if data.startswith(_MAGIC) else 0
        while whole and at + _HEAD.size <= len(data):
            length, checksum, name = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + length
            if not 0 < length <= _MAX_FRAME or name > length or end > len(data):
                break
            start = at + _HEAD.size + name
            if zlib.crc32(data[at + 8 : end]) != checksum:
                _log.error("a damaged event at %d of %s is left out", at, self.path.name)
            else:
                whole = end
                if start not in gone:
                    yield data[start - name : start].decode(), start, end - start
            at = end
        if whole != self.size:
            torn = len(data[whole:].rstrip(b"\0"))
            if torn:
                _log.warning("%d bytes at the end of %s were never written whole and are cut", torn, self.path.name)
            os.ftruncate(self._file, whole)
            self.size = whole

    def _acknowledged(self) -> set[int]:
        size = os.fstat(self._acked).st_size
        whole = size - size % _ACK.size
        os.ftruncate(self._acked, whole)
        return {offset for (offset,) in _ACK.iter_unpack(os.pread(self._acked, whole, 0))}

    def close(self) -> None:
        if os.fstat(self._file).st_size > self.size:
            os.ftruncate(self._file, self.size)
        os.close(self._file)
        os.close(self._acked)

    def delete(self) -> None:
        self.close()
        self.path.unlink()
        self.path.with_suffix(".ack").unlink()


def number(path: Path) -> int:
    return int(path.stem)


def existing(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"), key=number)
