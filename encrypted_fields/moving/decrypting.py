"""`decrypt_existing`: the way back. Values that are only sealed are written in clear; then the ciphertext goes.

State "dual": fills the column in clear, so that the state "plaintext" can follow. State "plaintext": takes away the
ciphertext that nobody reads any more, so that the column can be dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from encrypted_fields.core.errors import CmkError
from encrypted_fields.moving import DUAL, PLAINTEXT
from encrypted_fields.moving.encrypting import PASSES, Report
from encrypted_fields.moving.page import Tenants, keys_to_open, opened
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally


class Decryption:
    """The moving fields of one model that take their tenant from the same place. ValueError for a state that keeps
    nothing in clear, and for a column that another package wrote."""

    def __init__(self, table: Table, fields: Sequence[Any], *, tenant: str | None = None) -> None:
        for field in fields:
            if field.state not in (PLAINTEXT, DUAL):
                raise ValueError(f"{field.name} says state={field.state!r}: deploy state={DUAL!r} first")
            if field.clear.reader is not None:
                raise ValueError(f"{field.clear.name} is another package's, which is read only")
        self.table, self.fields = table, fields
        self.binding = fields[0].binding
        self.tenants = Tenants(table, self.binding, tenant)
        condition, self.params = self.tenants.condition()
        self.where = f"({' OR '.join(map(self._pending, fields))}) AND {condition}"

    def pending(self) -> int:
        return self.table.count(self.where, self.params)

    def run(self, report: Report | None = None, *, dry_run: bool = False) -> Tally:
        total = Tally()
        for _ in range(PASSES):
            tally = self._pass(report or (lambda rows: None), dry_run)
            total.found, total.left, total.rows = max(total.found, tally.found), tally.left, tally.rows
            total.written += tally.written
            total.calls += tally.calls
            total.overtaken = tally.overtaken
            if dry_run or not tally.overtaken:
                break
        return total

    def _pass(self, report: Report, dry_run: bool) -> Tally:
        tally = Tally()
        columns = [column for field in self.fields for column in (field.clear, field)]
        if self.tenants.column is not None:
            columns.append(self.tenants.column)
        for page in self.table.pages(columns, self.where, self.params):
            self._page(page, tally, dry_run)
            report(len(page))
        return tally

    def _pending(self, field: Any) -> str:
        clear, sealed = self.table.name(field.clear), self.table.name(field)
        return f"({sealed} IS NOT NULL)" if field.state == PLAINTEXT else f"({sealed} IS NOT NULL AND {clear} IS NULL)"

    def _page(self, page: list[tuple[Any, ...]], tally: Tally, dry_run: bool) -> None:
        pks = [self.table.value(self.table.pk, row[0]) for row in page]
        raw = None if self.tenants.column is None else [row[-1] for row in page]
        names = self.tenants.of(pks, raw)
        for at, field in enumerate(self.fields):
            both = [row[1 + 2 * at : 3 + 2 * at] for row in page]
            sealed = [
                (number, clear, bytes(stored))
                for number, (clear, stored) in enumerate(both)
                if stored is not None and names[number] != "" and (clear is None or field.state == PLAINTEXT)
            ]
            tally.found += len(sealed)
            if not dry_run:
                self._fill(field, [(page[n][0], pks[n], names[n], data) for n, clear, data in sealed if clear is None],
                           tally)  # fmt: skip
                self._drop(field, [(page[n][0], data) for n, clear, data in sealed if clear is not None], tally)

    def _fill(self, field: Any, cells: list[tuple[Any, Any, str | None, bytes]], tally: Tally) -> None:
        keys = keys_to_open(((tenant, stored) for _, _, tenant, stored in cells if tenant), self.binding, tally)
        rows = list[tuple[Any, ...]]()
        for raw_pk, pk, tenant, stored in cells:
            if tenant is None:
                tally.leave("no tenant", pk)
                continue
            try:
                value = opened(field, stored, tenant, pk, keys)
            except CmkError as error:
                if error.retryable:
                    raise
                tally.leave(type(error).__name__, pk)
                continue
            clear = field.clear.get_db_prep_save(value, self.table.connection)
            rows.append((clear, raw_pk, self.table.bytes(stored)))
        write = [(field.clear, True), *(self._gone(field) if field.state == PLAINTEXT else [])]
        tally.swapped(len(rows), self.table.swap(write, [(field, True), (field.clear, False)], rows))

    def _drop(self, field: Any, cells: list[tuple[Any, bytes]], tally: Tally) -> None:
        rows = [(raw_pk, self.table.bytes(stored)) for raw_pk, stored in cells]
        tally.swapped(len(rows), self.table.swap(self._gone(field), [(field, True)], rows))

    @staticmethod
    def _gone(field: Any) -> list[tuple[Any, bool]]:
        """The ciphertext, and what indexes it."""
        return [(field, False), *((column, False) for column in field.index_columns)]
