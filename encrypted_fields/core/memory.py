"""Key bytes that can be wiped: private anonymous pages, locked and left out of core dumps where the system allows."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import NoReturn, Self

_PAGE = mmap.PAGESIZE
_MADV_WIPEONFORK = 18  # linux/mman.h; Python's mmap does not name it
_ZEROS = bytes(32)
_ALIVE = 1  # in the last byte of the page: a page emptied by fork has 0 there
# where the content of a bytes object starts; the object has one more byte behind it, a NUL
_HEADER = bytes.__basicsize__ - 1 if sys.implementation.name == "cpython" else 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mlock.restype = ctypes.c_int


class SecretBytes:
    """`length` secret bytes in their own locked page. Does not print, compare, copy or pickle.

    For keys that stay (leases, private keys). A key that lives for one request is a `bytearray` passed to `wipe`.
    A forked child does not get it: where the system empties the page (Linux), `view` in the child raises instead of
    giving out zeros, which would be a valid key that everybody knows.
    """

    __slots__ = ("_length", "_map", "_view", "locked")

    def __init__(self, length: int) -> None:
        if not 0 < length < _PAGE:
            raise ValueError(f"a secret is 1 to {_PAGE - 1} bytes long")
        self._length = length
        # MAP_PRIVATE: with the default MAP_SHARED a forked child would share the page and WIPEONFORK is refused.
        self._map = mmap.mmap(-1, _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # Each call may be refused (RLIMIT_MEMLOCK, macOS): the key is then still wiped, only not pinned.
        self.locked = _libc.mlock(_address(self._map), _PAGE) == 0
        if sys.platform == "linux":
            for advice in (mmap.MADV_DONTDUMP, _MADV_WIPEONFORK):
                with contextlib.suppress(OSError):
                    self._map.madvise(advice)
        self._view = memoryview(self._map)
        self._view[-1] = _ALIVE

    @classmethod
    def take(cls, source: bytearray | bytes) -> Self:
        """Move `source` in; a bytearray is zeroed, an immutable `bytes` cannot be."""
        secret = cls(len(source))
        secret.view()[:] = source
        if isinstance(source, bytearray):
            wipe(source)
        return secret

    def view(self) -> memoryview:
        """The live bytes, writable, not a copy. ValueError once wiped, and in a child that was forked off."""
        if self._length == 0 or self._view[-1] != _ALIVE:
            raise ValueError("this secret has been wiped, or stayed behind in the parent process")
        return self._view[: self._length]

    @property
    def wiped(self) -> bool:
        return self._length == 0 or self._view[-1] != _ALIVE

    def wipe(self) -> None:
        """Zero the page. May be called twice."""
        if self._length:
            self._length = 0
            self._view[:] = bytes(_PAGE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.wipe()

    def __del__(self) -> None:
        if hasattr(self, "_view"):
            self.wipe()

    def __repr__(self) -> str:
        return "<SecretBytes wiped>" if self.wiped else "<SecretBytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a mutable buffer with zeros, in place."""
    buffer[:] = bytes(len(buffer))


def wipe_all(keys: Iterable[bytearray]) -> None:
    """`wipe` each of many keys; those of the usual length share their zeros."""
    for key in keys:
        key[:] = _ZEROS if len(key) == len(_ZEROS) else bytes(len(key))


def erase(data: bytes) -> None:
    """Zero an immutable `bytes` that holds a key and that the caller got as its own, as from an SDK; then forget it.

    Python would free it as it is, and the key would stay in the heap until something else happens to be put there.
    Its value changes for whoever else still holds it, and a slice of all of it, or `bytes` of it, is the same object.
    Only on CPython, which keeps the bytes behind a fixed header; elsewhere nothing happens.
    """
    if _HEADER and len(data) > 1:  # shorter ones are shared by the whole interpreter
        ctypes.memset(id(data) + _HEADER, 0, len(data))


def _address(mapping: mmap.mmap) -> int:
    anchor = ctypes.c_char.from_buffer(mapping)
    try:
        return ctypes.addressof(anchor)
    finally:
        del anchor
