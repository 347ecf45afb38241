"""`encrypt_existing` for files: the sealed one is stored, the row names it, the plain one goes, and then its name.

So whenever a run ends, the row names a file that is whole, and no plain file lies anywhere unnamed. What lies in clear
is never older than what is sealed beside it, so it wins where the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from encrypted_fields.core.errors import CmkError
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import WrappedKey
from encrypted_fields.fields.names import without_token
from encrypted_fields.fields.ranged import open_stored
from encrypted_fields.fields.upload import Upload
from encrypted_fields.moving import DUAL, PLAINTEXT
from encrypted_fields.moving.file_job import GONE, Cell, FileJob, alike
from encrypted_fields.moving.file_keys import sealing_keys
from encrypted_fields.moving.shelf import new_names
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally
from encrypted_fields.moving.whole import Whole


class FileEncryption(FileJob):
    """`verify`: in the state "dual", also compare files that are sealed already. ValueError for a field whose state is
    "plaintext": old code would not see what is sealed."""

    def __init__(self, table: Table, fields: Sequence[Any], *, tenant: str | None = None, verify: bool = False) -> None:
        for field in fields:
            if field.state == PLAINTEXT:
                raise ValueError(f"{field.name} says state={PLAINTEXT!r}: deploy state={DUAL!r} first")
        self.verify = verify
        super().__init__(table, fields, tenant)

    def _pending(self, field: Any) -> str:
        clear, sealed = self.table.filled(field.clear), self.table.filled(field)
        return f"({clear})" if field.state != DUAL or self.verify else f"({clear} AND NOT ({sealed}))"

    def _has_work(self, field: Any, clear: str | None, sealed: str | None) -> bool:
        return bool(clear) and (not sealed or field.state != DUAL or self.verify)

    def _files(self, field: Any, cells: list[Cell], tally: Tally) -> None:
        others = self.plain[field].named([str(cell.clear) for cell in cells])
        both = [cell for cell in cells if cell.sealed]
        waiting = [cell for cell in cells if not cell.sealed]
        if both:
            waiting += self._compared(field, both, others, tally)
        with sealing_keys([cell.tenant for cell in waiting], self.binding, tally) as keys:
            for cell, key in zip(waiting, keys, strict=True):
                if isinstance(key, CmkError):
                    tally.leave(type(key).__name__, cell.pk)
                else:
                    with self.leaving(field, cell, tally):
                        self._seal(field, cell, key, others, tally)

    def _compared(self, field: Any, cells: list[Cell], others: dict[str, int], tally: Tally) -> list[Cell]:
        """Those whose two files differ. Of the others, the plain one goes where the state keeps nothing in clear."""
        differ = list[Cell]()
        for cell, reader in self.opened(field, cells, tally):
            if reader == GONE:
                differ.append(cell)
                continue
            if isinstance(reader, str):
                tally.leave(f"beside it: {reader}", cell.pk)
                continue
            with self.leaving(field, cell, tally):
                try:
                    with closing(open_stored(self.plain[field].storage, str(cell.clear))) as plain:
                        same = alike(plain, reader)
                except FileNotFoundError:
                    if field.state == DUAL:
                        raise
                    same = True  # removed by a run that was killed then
                if not same:
                    differ.append(cell)
                elif field.state != DUAL:
                    self._forget(field, cell, others, tally)
        return differ

    def _seal(self, field: Any, cell: Cell, key: WrappedKey, others: dict[str, int], tally: Tally) -> None:
        shelf, clear = self.sealed[field], str(cell.clear)
        base = without_token(clear)
        with closing(open_stored(self.plain[field].storage, clear)) as source:
            name = base if field.private_names else None
            upload = Upload(Whole(source), key.dek, key.edek, self.context(field, cell), name)
            wipe(key.dek)
            names = new_names(field, cell.pk, clear, base, private=field.private_names)
            new = shelf.put(upload, (one for one in names if one != cell.sealed), tally)
            size = upload.size
        if not self.swap(field, cell, clear=clear, sealed=new):
            shelf.drop(new)
            tally.overtaken += 1
            return
        done = cell._replace(sealed=new)
        if not shelf.holds(new, size):
            self.swap(field, done, clear=clear, sealed=cell.sealed)
            tally.overtaken += 1
            return
        if cell.sealed:
            shelf.drop(cell.sealed)
        if field.state == DUAL:
            tally.written += 1
        else:
            self._forget(field, done, others, tally)

    def _forget(self, field: Any, cell: Cell, others: dict[str, int], tally: Tally) -> None:
        """The plain file, unless another row names it; then its name."""
        clear = str(cell.clear)
        if others.get(clear, 1) <= 1:
            self.plain[field].remove(clear)
        done = self.swap(field, cell, clear=None, sealed=cell.sealed)
        others[clear] = others.get(clear, 1) - done
        tally.swapped(1, done)
