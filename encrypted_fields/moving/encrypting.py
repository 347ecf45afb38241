"""`encrypt_existing`: values in clear are sealed, and cleared where the state keeps nothing in clear.

Whatever lies in clear is never older than the ciphertext beside it (moving/__init__.py), so it wins where the two
differ; and it is cleared only when the ciphertext beside it was opened and says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import IntegrityError

from encrypted_fields.core.errors import WITHDRAWN, CmkError, InvalidCiphertext
from encrypted_fields.moving import DUAL, PLAINTEXT
from encrypted_fields.moving.indexes import IndexValues
from encrypted_fields.moving.job import Job, Report, Row
from encrypted_fields.moving.page import keys_to_open, keys_to_seal, opened
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally


class _Cell(NamedTuple):
    """A value in clear, and what lies beside it."""

    field: Any
    number: int  # of its row in the page
    tenant: str
    clear: Any  # as the driver gave it
    stored: bytes | None


class Encryption(Job):
    """Moving fields: one key serves them in a row.

    `verify`: in the state "dual", also compare the values that are sealed already. ValueError for a field whose state
    is "plaintext": old code would not see what is sealed.
    """

    def __init__(self, table: Table, fields: Sequence[Any], *, tenant: str | None = None, verify: bool = False) -> None:
        for field in fields:
            if field.state == PLAINTEXT:
                raise ValueError(f"{field.name} says state={PLAINTEXT!r}: deploy state={DUAL!r} first")
        self.verify = verify
        super().__init__(table, fields, tenant)
        self.indexes = IndexValues(table)

    def run(self, report: Report | None = None, *, dry_run: bool = False) -> Tally:
        total = super().run(report, dry_run=dry_run)
        if not dry_run:
            self.indexes.fill_compound(self.fields, self.tenants.only)
        return total

    def _pending(self, field: Any) -> str:
        clear, sealed = self.table.name(field.clear), self.table.name(field)
        if field.state == DUAL and not self.verify:
            return f"({clear} IS NOT NULL AND {sealed} IS NULL)"
        return f"({clear} IS NOT NULL)"

    def _page(self, page: list[Row], pks: list[Any], tenants: list[str | None], tally: Tally, dry_run: bool) -> None:
        cells = list[_Cell]()
        for number, tenant in enumerate(tenants):
            for at, field in enumerate(self.fields):
                clear, stored = page[number][1 + 2 * at : 3 + 2 * at]
                if clear is None or tenant == "" or (stored is not None and field.state == DUAL and not self.verify):
                    continue
                tally.found += 1
                if tenant is None:
                    tally.leave("no tenant", pks[number])
                else:
                    clear = self.table.again(field.clear, clear)
                    cells.append(_Cell(field, number, tenant, clear, None if stored is None else bytes(stored)))
        if dry_run:
            return
        alike, waiting = self._compared(cells, pks, tally)
        self._clear(alike, page, tally)
        self._seal(waiting, page, pks, tally)

    def _compared(self, cells: list[_Cell], pks: list[Any], tally: Tally) -> tuple[list[_Cell], list[_Cell]]:
        """(cells whose two columns say the same, cells to be sealed)."""
        keys = keys_to_open(((one.tenant, one.stored) for one in cells if one.stored), self.binding, tally)
        alike, waiting = list[_Cell](), list[_Cell]()
        for one in cells:
            if one.stored is None:
                waiting.append(one)
                continue
            try:
                value = opened(one.field, one.stored, one.tenant, pks[one.number], keys)
                said = one.field.codec.load(one.field.codec.dump(self.table.value(one.field.clear, one.clear)))
            except CmkError as error:
                if error.retryable:
                    raise
                tally.leave(f"beside it: {type(error).__name__}", pks[one.number])
                continue
            (alike if value == said else waiting).append(one)
        return alike, waiting

    def _clear(self, cells: list[_Cell], page: list[Row], tally: Tally) -> None:
        for field in self.fields:
            rows = [
                (page[one.number][0], self.table.bytes(one.stored or b""), one.clear)
                for one in cells
                if one.field is field and field.state != DUAL
            ]
            done = self.table.swap([(field.clear, False)], [(field, True), (field.clear, True)], rows)
            tally.swapped(len(rows), done)

    def _seal(self, cells: list[_Cell], page: list[Row], pks: list[Any], tally: Tally) -> None:
        ready = list[tuple[_Cell, bytes]]()
        for one in cells:
            try:
                ready.append((one, one.field.codec.dump(self.table.value(one.field.clear, one.clear))))
            except (ValueError, InvalidCiphertext) as error:  # never with the value in it
                tally.leave(f"in clear: {type(error).__name__}", pks[one.number])
        keys, refused = keys_to_seal({(one.number, one.tenant) for one, _ in ready}, self.binding, tally)
        swaps: dict[tuple[Any, bool], list[tuple[Any, ...]]] = {}
        for one, data in ready:
            if one.tenant in refused:
                tally.leave(type(refused[one.tenant]).__name__, pks[one.number])
                continue
            try:
                found = self.indexes.values(one.field, data, one.tenant)
            except WITHDRAWN as error:
                tally.leave(type(error).__name__, pks[one.number])
                continue
            key, edek = keys[one.number]
            stored = one.field.binding.seal(data, key, edek, one.tenant, one.field.binding.row(pks[one.number]))
            before = [] if one.stored is None else [self.table.bytes(one.stored)]
            swaps.setdefault((one.field, one.stored is not None), []).append(
                (self.table.bytes(stored), *found, page[one.number][0], *before, one.clear)
            )
        for (field, sealed_before), rows in swaps.items():
            write = [(field, True), *((column, True) for column in self.indexes.columns(field))]
            write += [] if field.state == DUAL else [(field.clear, False)]
            self._swap(write, [(field, sealed_before), (field.clear, True)], rows, tally)

    def _swap(self, write: list[tuple[Any, bool]], expect: list[tuple[Any, bool]], rows: Any, tally: Tally) -> None:
        try:
            tally.swapped(len(rows), self.table.swap(write, expect, rows))
        except IntegrityError:  # a unique index: find the rows that are alike
            if len(rows) == 1:
                tally.leave("not unique", self.table.value(self.table.pk, rows[0][sum(given for _, given in write)]))
                return
            for row in rows:
                self._swap(write, expect, [row], tally)
