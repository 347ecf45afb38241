"""Bytes that go into the column as they are: from a fixture, a backup, another database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encrypted_fields.core import envelope

if TYPE_CHECKING:
    from encrypted_fields.fixtures.ahead import Ahead


class Stored:
    """A sealed value that nobody here has opened. Assign it and save: it is written unchanged, whatever it was sealed
    for. InvalidCiphertext for bytes that are no sealed value."""

    __slots__ = ("ahead", "data")

    def __init__(self, data: bytes, ahead: Ahead | None = None) -> None:
        envelope.parse(data)
        self.data = data
        self.ahead = ahead  # of a fixture: keys that are opened together with its own, for an index

    def __reduce__(self) -> tuple[Any, ...]:
        return Stored, (self.data,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stored) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return "<Stored>"
