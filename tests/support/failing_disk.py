"""A disk that takes no more, in the place of `os.pwrite`."""

from __future__ import annotations

import os
from typing import Any


def failing(code: int, written: int = 0) -> Any:
    """A write that fails when so many bytes have arrived."""
    real = os.pwrite

    def fail(file: int, data: memoryview, at: int) -> None:
        real(file, data[:written], at)
        raise OSError(code, os.strerror(code))

    return fail
