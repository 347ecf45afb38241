"""`decrypt_existing` for files, the way back: the plain one is stored and named, then the sealed one goes.

State "dual": stores in clear what is only sealed. State "plaintext": takes away the sealed files that nobody reads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from encrypted_fields.core.stream import OpeningReader
from encrypted_fields.fields.names import without_token
from encrypted_fields.moving import DUAL, PLAINTEXT
from encrypted_fields.moving.file_job import GONE, Cell, FileJob
from encrypted_fields.moving.shelf import new_names
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally
from encrypted_fields.moving.whole import Whole


class FileDecryption(FileJob):
    """ValueError for a state that keeps nothing in clear."""

    def __init__(self, table: Table, fields: Sequence[Any], *, tenant: str | None = None) -> None:
        for field in fields:
            if field.state not in (PLAINTEXT, DUAL):
                raise ValueError(f"{field.name} says state={field.state!r}: deploy state={DUAL!r} first")
        super().__init__(table, fields, tenant)

    def _pending(self, field: Any) -> str:
        clear, sealed = self.table.filled(field.clear), self.table.filled(field)
        return f"({sealed})" if field.state == PLAINTEXT else f"({sealed} AND NOT ({clear}))"

    def _has_work(self, field: Any, clear: str | None, sealed: str | None) -> bool:
        return bool(sealed) and (not clear or field.state == PLAINTEXT)

    def _files(self, field: Any, cells: list[Cell], tally: Tally) -> None:
        alone = [cell for cell in cells if not cell.clear]
        for cell, reader in self.opened(field, alone, tally):
            if isinstance(reader, str):
                self.leave(field, cell, reader, tally)
                continue
            with self.leaving(field, cell, tally):
                self._fill(field, cell, reader, tally)
        if field.state == PLAINTEXT:
            others = self.sealed[field].named([str(cell.sealed) for cell in cells])
            for cell in cells:
                if cell.clear:
                    self._forget(field, cell, others, tally)

    def _fill(self, field: Any, cell: Cell, reader: OpeningReader, tally: Tally) -> None:
        shelf, sealed = self.plain[field], str(cell.sealed)
        base = os.path.basename(reader.name or "") or without_token(sealed)
        new = shelf.put(Whole(reader), new_names(field.clear, cell.pk, sealed, base), tally)
        if not self.swap(field, cell, clear=new, sealed=sealed):
            shelf.drop(new)
            tally.overtaken += 1
            return
        done = cell._replace(clear=new)
        if not shelf.holds(new, reader.size):
            self.swap(field, done, clear=cell.clear, sealed=sealed)
            tally.overtaken += 1
        elif field.state == PLAINTEXT:
            self._forget(field, done, {}, tally)
        else:
            tally.written += 1

    def _forget(self, field: Any, cell: Cell, others: dict[str, int], tally: Tally) -> None:
        """The sealed file, unless another row names it; then its name. Only beside a plain one that is there."""
        sealed = str(cell.sealed)
        if not self.plain[field].storage.exists(str(cell.clear)):
            self.leave(field, cell, f"in clear: {GONE}", tally)
            return
        if others.get(sealed, 1) <= 1:
            self.sealed[field].remove(sealed)
        done = self.swap(field, cell, clear=cell.clear, sealed=None)
        others[sealed] = others.get(sealed, 1) - done
        tally.swapped(1, done)
