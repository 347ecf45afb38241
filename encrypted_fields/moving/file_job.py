"""What the jobs that move files share: one file after the other, the row by compare and swap, the old file last."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

from django.core.exceptions import SuspiciousFileOperation

from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import CmkError, InvalidCiphertext
from encrypted_fields.core.stream import CHUNK, OpeningReader
from encrypted_fields.fields.ranged import open_stored
from encrypted_fields.moving import headers
from encrypted_fields.moving.file_keys import FILES, opening_keys
from encrypted_fields.moving.headers import Head, Missing
from encrypted_fields.moving.job import Job, Row
from encrypted_fields.moving.shelf import Shelf, Taken
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally

GONE = "not in the Storage"


class Cell(NamedTuple):
    """A row's two names as they lie in the table, "" and NULL told apart; `tenant`: None if it has none."""

    raw_pk: Any
    pk: Any
    tenant: str
    clear: str | None
    sealed: str | None


class FileJob(Job):
    """Of moving file fields. `plain` and `sealed` hold the files that each field's two columns name."""

    size = FILES

    def __init__(self, table: Table, fields: Sequence[Any], tenant: str | None) -> None:
        super().__init__(table, fields, tenant)
        self.plain = {field: Shelf(table, field.clear) for field in fields}
        self.sealed = {field: Shelf(table, field) for field in fields}

    def _page(self, page: list[Row], pks: list[Any], tenants: list[str | None], tally: Tally, dry_run: bool) -> None:
        for at, field in enumerate(self.fields):
            cells = list[Cell]()
            for number, tenant in enumerate(tenants):
                clear, sealed = page[number][1 + 2 * at : 3 + 2 * at]
                if tenant == "" or not self._has_work(field, clear, sealed):
                    continue
                tally.found += 1
                if tenant is None:
                    tally.leave("no tenant", pks[number])
                else:
                    cells.append(Cell(page[number][0], pks[number], tenant, clear, sealed))
            if cells and not dry_run:
                self._files(field, cells, tally)

    @abstractmethod
    def _has_work(self, field: Any, clear: str | None, sealed: str | None) -> bool:
        """Whether a row with these two names has something to do."""

    @abstractmethod
    def _files(self, field: Any, cells: list[Cell], tally: Tally) -> None:
        """Do it, for cells of one page."""

    def context(self, field: Any, cell: Cell) -> ValueContext:
        binding = field.binding
        return ValueContext(cell.tenant, binding.model_id, binding.field_id, binding.row(cell.pk))

    def swap(self, field: Any, cell: Cell, *, clear: str | None, sealed: str | None) -> bool:
        """Give the row these names if it still has those of the cell."""
        columns = (field.clear, field)
        before, after = (cell.clear, cell.sealed), (clear, sealed)
        changed = [(one, new) for one, old, new in zip(columns, before, after, strict=True) if new != old]
        given = [new for _, new in changed if new is not None]
        row = (*given, cell.raw_pk, *(old for old in before if old is not None))
        write = [(one, new is not None) for one, new in changed]
        expect = [(one, old is not None) for one, old in zip(columns, before, strict=True)]
        return bool(self.table.swap(write, expect, [row]))

    def opened(self, field: Any, cells: Sequence[Cell], tally: Tally) -> Iterator[tuple[Cell, OpeningReader | str]]:
        """Each cell with its sealed file, one open at a time, or with the reason why it does not open."""
        storage = self.sealed[field].storage
        heads = headers.each(partial(headers.head, storage), [str(cell.sealed) for cell in cells])
        there = [number for number, one in enumerate(heads) if isinstance(one, Head)]
        asked = [(cells[number].tenant, heads[number].edek) for number in there]  # type: ignore[union-attr]
        with opening_keys(asked, self.binding, tally) as found:
            keys = dict(zip(there, found, strict=True))
            for number, (cell, one) in enumerate(zip(cells, heads, strict=True)):
                key = keys.get(number, one)
                if not isinstance(key, bytearray):
                    yield cell, GONE if isinstance(key, Missing) else type(key).__name__
                    continue
                with ExitStack() as stack:
                    yield cell, self._reader(field, cell, key, stack)

    def _reader(self, field: Any, cell: Cell, key: bytearray, stack: ExitStack) -> OpeningReader | str:
        try:
            source = stack.enter_context(closing(open_stored(self.sealed[field].storage, str(cell.sealed))))
            return OpeningReader(source, key, self.context(field, cell))
        except FileNotFoundError:
            return GONE
        except CmkError as error:
            return type(error).__name__

    def leave(self, field: Any, cell: Cell, reason: str, tally: Tally) -> None:
        """The row stays as it is. A file that is gone may be one that somebody replaced: then the next pass looks."""
        gone = reason.endswith(GONE) and self.table.row([field.clear, field], cell.raw_pk) != (cell.clear, cell.sealed)
        if gone:
            tally.overtaken += 1
        else:
            tally.leave(reason, cell.pk)

    @contextmanager
    def leaving(self, field: Any, cell: Cell, tally: Tally) -> Iterator[None]:
        """What is wrong with one file leaves its row, and the others go on."""
        try:
            yield
        except FileNotFoundError:
            self.leave(field, cell, GONE, tally)
        except (InvalidCiphertext, PermissionError, SuspiciousFileOperation, Taken) as error:
            tally.leave(type(error).__name__, cell.pk)


def alike(one: Any, other: Any) -> bool:
    """Whether two streams hold the same bytes."""
    first, second = (
        io.BufferedReader(source, CHUNK) if isinstance(source, io.RawIOBase) else cast(Any, source)
        for source in (one, other)
    )
    while True:
        data = first.read(CHUNK)
        if data != second.read(CHUNK):
            return False
        if not data:
            return True
