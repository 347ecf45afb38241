"""The usual block: no value is missing, each row has one wrapped key, nobody has looked at it yet. It is opened as a
whole, in less time than value by value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, cast

from encrypted_fields.core.aead import OVERHEAD, ValueKey, open_rows
from encrypted_fields.core.envelope import HEAD
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.fields.binding import edek_of
from encrypted_fields.fields.codecs import TEXT

if TYPE_CHECKING:
    from encrypted_fields.fields.parts import Column
    from encrypted_fields.keys import Unwrapped

AHEAD: Final = 1024  # bytes; a longer value is opened by itself, so that the plaintext of a block stays small
_TEXT: Final = TEXT[0]
_READY: Final = frozenset({bytearray, ValueKey})


def edeks_of(columns: Sequence[Sequence[bytes | None]]) -> list[bytes] | None:
    """Each row's wrapped key, when the values of these columns are alike: in shape, and in each row in their key."""
    if not columns or not columns[0] or not all(map(all, columns)):
        return None
    stored = cast(Sequence[Sequence[bytes]], columns)
    try:
        size = HEAD + len(edek_of(stored[0][0]))
    except InvalidCiphertext:
        return None
    if not all(map(bytes.startswith, stored[0], repeat(stored[0][0][:HEAD]))):
        return None
    heads = [one[:size] for one in stored[0]]
    if any(min(map(len, some)) < size + OVERHEAD for some in stored):
        return None
    if not all(all(map(bytes.startswith, some, heads)) for some in stored[1:]):
        return None
    return [head[HEAD:] for head in heads]


def open_all(
    columns: Sequence[Column],
    tenant: str,
    rows: Sequence[bytes],
    edeks: Sequence[bytes],
    keys: Mapping[bytes, Unwrapped],
) -> bool:
    """Open values of which `edeks_of` has found these keys; `rows` are the rows' parts of the associated data. A value
    that does not open keeps its key for whoever looks at it. False, and nothing is done, when one has to be looked at
    by itself: a key is missing, a value is long, a field binds rows and the values are not bound."""
    start, first = HEAD + len(edeks[0]), columns[0].stored[0] or b""
    bound = first[4] == 1
    found = list(map(keys.__getitem__, edeks))
    may = bound or all(not one.binding.binds_row for one in columns)
    if not may or not _READY.issuperset(map(type, found)):
        return False
    cells: list[tuple[Sequence[bytes], Iterable[bytes]]] = []
    for one in columns:
        stored, prefix = cast(list[bytes], one.stored), one.binding.prefix(tenant, bound)
        if max(map(len, stored)) > start + AHEAD:
            return False
        cells.append((stored, [prefix + row for row in rows] if bound else repeat(prefix, len(stored))))
    ready = cast(list[bytearray | ValueKey], found)
    for one, values in zip(columns, open_rows(ready, cells, start), strict=True):
        if None in values:
            one.opened = [None if value is None else as_read(value) for value in values]
            for index, value in enumerate(values):
                if value is None:
                    key = ready[index]
                    one.keys[index] = ValueKey(key) if isinstance(key, bytearray) else key
        else:
            one.opened = _all_as_read(cast(list[bytes], values))
    return True


def _all_as_read(values: Sequence[bytes]) -> list[Any]:
    """`as_read` of each, in less time when nothing about them is unusual."""
    try:
        return [value[1:].decode() if value[0] == _TEXT else value for value in values]
    except (UnicodeDecodeError, IndexError):  # half a surrogate pair; nothing at all
        return [as_read(value) for value in values]


def as_read(value: bytes) -> Any:
    """Text, which most values are, or the bytes of another type."""
    return value[1:].decode("utf-8", "surrogatepass") if value[:1] == TEXT else value
