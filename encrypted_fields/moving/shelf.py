"""Stored files that a command makes and removes: under names that the next run finds again, never on top of another's.

A run that is killed leaves one file at most that no row names. New names are derived from the row and from the name
before, so the next run looks there: what nobody wrote to for ten minutes is removed, anything younger may be another
run's work and is told.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.crypto import salted_hmac

from encrypted_fields.fields.names import PRIVATE, TOKEN, with_token
from encrypted_fields.fields.ranged import open_stored
from encrypted_fields.fields.upload import store
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally

STALE = timedelta(minutes=10)
_TRIES = 8


class Taken(RuntimeError):
    """All names that a new file of this row may have are taken by files of other runs."""


class Shelf:
    """The files that one column of a table names. `field` is a FileField: sealed ones, or those in clear."""

    def __init__(self, table: Table, field: Any) -> None:
        self.table, self.field, self.storage = table, field, field.storage

    def put(self, upload: Any, names: Iterator[str], tally: Tally) -> str:
        """Store it under the first of `names` that is free. Taken if none is."""
        for _, name in zip(range(_TRIES), names, strict=False):
            if not self.storage.exists(name) or self._cleared(name, tally):
                return store(self.storage, name, upload, self.field.max_length, self.drop)
        raise Taken

    def drop(self, name: str) -> None:
        """A file of ours that no row came to name; one that some row does, as another run may have made it, stays."""
        if not self.named([name]):
            self.remove(name)

    def holds(self, name: str, size: int) -> bool:
        """Whether all of it is there: looked at before the file that it replaces is removed."""
        try:
            with closing(open_stored(self.storage, name)) as stored:
                return stored.seek(0, io.SEEK_END) == size
        except FileNotFoundError:
            return False

    def remove(self, name: str) -> None:
        """No more than once; a file that is gone is fine."""
        with suppress(FileNotFoundError):
            self.storage.delete(name)

    def named(self, names: list[str]) -> dict[str, int]:
        """How many rows name each, of those that any row names."""
        table, found = self.table, dict[str, int]()
        column = table.name(self.field)
        for start in range(0, len(names), 500):
            some = names[start : start + 500]
            marks = ", ".join(["%s"] * len(some))
            sql = f"SELECT {column}, COUNT(*) FROM {table.quoted} WHERE {column} IN ({marks}) GROUP BY {column}"  # noqa: S608
            with table.connection.cursor() as cursor:
                cursor.execute(sql, some)
                found.update({str(name): int(count) for name, count in cursor.fetchall()})
        return found

    def clear_stray(self, name: str, tally: Tally) -> None:
        """A file that a killed run may have left: gone, if it is there and no row names it."""
        if self.storage.exists(name) and not self.named([name]):
            self.remove(name)
            tally.cleared += 1

    def _cleared(self, name: str, tally: Tally) -> bool:
        if self.named([name]):
            return False
        if not self._is_stale(name):
            tally.stray(name)
            return False
        self.remove(name)
        tally.cleared += 1
        return True

    def _is_stale(self, name: str) -> bool:
        try:
            written = self.storage.get_modified_time(name)
        except NotImplementedError:  # a Storage that does not know
            return False
        return bool(timezone.now() - _aware(written) >= STALE)


def new_names(field: Any, pk: object, old: str, base: str, *, private: bool = False) -> Iterator[str]:
    """For the file that a row gets instead of `old`, in the same folder: alike in each run of this installation, and
    told by nobody else. `base`: what its name is made of."""
    told = "|".join((field.model._meta.label, field.name, str(pk), old))
    token = int(salted_hmac("encrypted_fields.moving", told, algorithm="sha256").hexdigest()[:32], 16)
    folder = posixpath.dirname(old)
    while True:
        if private:
            yield with_token(field, posixpath.join(folder, f"{token:032x}"), "")
        else:
            yield with_token(field, posixpath.join(folder, base), f"_{token % 2**64:016x}")
        token = (token + 1) % 2**128


def next_names(field: Any, pk: object, old: str) -> Iterator[str]:
    """For a rekeyed file: the characters that made `old` a fresh name, counted on."""
    if (found := _counted(old, 1)) is None:
        yield from new_names(field, pk, old, posixpath.basename(old), private=field.private_names)
    while found is not None:
        yield found
        found = _counted(found, 1)


def name_before(name: str) -> str | None:
    """What a rekeyed file was called before, if it is one."""
    return _counted(name, -1)


def _counted(name: str, step: int) -> str | None:
    found = TOKEN.search(name) or PRIVATE.search(name)
    if found is None:
        return None
    digits = found.group(1)
    number = (int(digits, 16) + step) % 16 ** len(digits)
    start, end = found.span(1)
    return f"{name[:start]}{number:0{len(digits)}x}{name[end:]}"


def _aware(moment: Any) -> Any:
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
