"""The clear starts of stored sealed files, read by range, eight at once: which key each lies under."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.stream import Header, read_header
from encrypted_fields.fields.ranged import open_stored

AT_ONCE = 8
_T = TypeVar("_T")


class Missing(InvalidCiphertext):
    """The Storage has no such file."""


class Head(NamedTuple):
    """`start`: where the chunks begin, in bytes."""

    header: Header
    start: int

    @property
    def edek(self) -> bytes:
        return self.header.edek


def head(storage: Any, name: str) -> Head | InvalidCiphertext:
    """What the file begins with; Missing if there is none, InvalidCiphertext if it is no sealed file of ours."""
    try:
        with closing(open_stored(storage, name)) as stored:
            return Head(read_header(stored), stored.tell())
    except FileNotFoundError:
        return Missing()
    except InvalidCiphertext as error:
        return error.with_traceback(None)


def each(look: Callable[[str], _T], names: Sequence[str]) -> list[_T]:
    """`look(name)` for each, eight at once. It asks the Storage and no database."""
    if not names:
        return []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(look, names))
