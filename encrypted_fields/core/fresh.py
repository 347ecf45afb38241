"""Random bytes that are no secrets: ids and salts, from the kernel a few thousand at a time.

A system call lets other threads take the interpreter, and getting it back costs more than all the rest of such a
call. Keys are not made of these bytes: they come from the kernel when they are asked for and wait nowhere.
"""

from __future__ import annotations

import os
import threading

_BLOCK = 4096


class _Pool(threading.local):
    """Each thread has its own: no two of them are ever given the same bytes."""

    def __init__(self) -> None:
        self.block, self.at = b"", 0


_pool = _Pool()


def fresh(length: int) -> bytes:
    """`length` bytes that nobody was given before."""
    if length < 0:
        raise ValueError("ids and salts are no shorter than nothing")
    at = _pool.at
    end = at + length
    if end > len(_pool.block):
        _pool.block, at, end = os.urandom(max(_BLOCK, length)), 0, length
    _pool.at = end
    return _pool.block[at:end]


def _forget() -> None:
    _pool.block, _pool.at = b"", 0


os.register_at_fork(after_in_child=_forget)  # or parent and child would give out the same bytes
