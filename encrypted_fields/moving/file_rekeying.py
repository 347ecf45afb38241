"""`rekey` for files: the same chunks under a header with the new wrapped key, stored under a fresh name.

Nothing is opened, here or at the proxy: the key that the chunks are sealed with stays the same, and their associated
data does not hold the EDEK (docs/formats.md section 3). The new file first, then the row, then the old file goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from django.core.exceptions import SuspiciousFileOperation

from encrypted_fields.core.stream import read_header
from encrypted_fields.fields.ranged import open_stored
from encrypted_fields.moving import headers
from encrypted_fields.moving.file_job import GONE
from encrypted_fields.moving.headers import Missing, head
from encrypted_fields.moving.rekeying import Place, Rekeying
from encrypted_fields.moving.shelf import Shelf, Taken, name_before, next_names
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally
from encrypted_fields.moving.whole import Whole


class FileRekeying(Rekeying):
    """Encrypted file fields, moving or not. Options as for values."""

    def __init__(self, table: Table, fields: Sequence[Any], **options: Any) -> None:
        super().__init__(table, fields, **options)
        self.shelves = {field: Shelf(table, field) for field in fields}

    def _gather(self, tenant: str, place: Place, tally: Tally, dry_run: bool) -> None:
        if isinstance(place.parsed, Missing):
            self._gone(place, tally)
            return
        if isinstance(place.parsed, _Behind):
            if not dry_run:
                self.shelves[place.field].clear_stray(place.parsed.left, tally)
            place = place._replace(parsed=place.parsed.head)
        super()._gather(tenant, place, tally, dry_run)

    def _gone(self, place: Place, tally: Tally) -> None:
        """Left, unless somebody gave the row another file: then the next pass looks."""
        if self.table.row([place.field], place.raw_pk) == (place.stored,):
            tally.leave(GONE, place.pk)
        else:
            tally.overtaken += 1

    def _parsed(self, places: list[Place]) -> list[Any]:
        return (
            headers.each(partial(_look, places[0].field.storage), [place.stored for place in places]) if places else []
        )

    def _write(self, ready: list[tuple[Place, bytes]], tally: Tally) -> None:
        names: dict[Any, list[str]] = {}
        for place, _ in ready:
            names.setdefault(place.field, []).append(place.stored)
        others = {field: self.shelves[field].named(some) for field, some in names.items()}
        for place, new in ready:
            try:
                self._file(place, new, others[place.field], tally)
            except FileNotFoundError:
                self._gone(place, tally)
            except (PermissionError, SuspiciousFileOperation, Taken) as error:
                tally.leave(type(error).__name__, place.pk)

    def _file(self, place: Place, edek: bytes, others: dict[str, int], tally: Tally) -> None:
        field, old, shelf = place.field, place.stored, self.shelves[place.field]
        with closing(open_stored(shelf.storage, old)) as source:
            header = read_header(source)
            if header != place.parsed.header:  # somebody wrote another file over it
                tally.overtaken += 1
                return
            upload = Whole(source, replace(header, edek=edek).dump(), source.tell())
            new = shelf.put(upload, next_names(field, place.pk, old), tally)
        column = [(field, True)]
        if not self.table.swap(column, column, [(new, place.raw_pk, old)]):
            shelf.drop(new)
            tally.overtaken += 1
        elif not shelf.holds(new, upload.size):
            self.table.swap(column, column, [(old, place.raw_pk, new)])
            tally.overtaken += 1
        else:
            if others.get(old, 1) <= 1:
                shelf.remove(old)
            others[old] = others.get(old, 1) - 1
            tally.written += 1


class _Behind:
    """A head, and a file that a killed run may have left `behind` it."""

    def __init__(self, found: Any, left: str) -> None:
        self.head, self.left = found, left


def _look(storage: Any, name: str) -> Any:
    found, before = head(storage, name), name_before(name)
    return _Behind(found, before) if before is not None and storage.exists(before) else found
