"""Bytes that go into the column as they are: from a fixture, a backup, another database."""

from __future__ import annotations

from encrypted_fields.core import envelope


class Stored:
    """A sealed value that nobody here has opened. Assign it and save: it is written unchanged, whatever it was sealed
    for. InvalidCiphertext for bytes that are no sealed value."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        envelope.parse(data)
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stored) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return "<Stored>"
