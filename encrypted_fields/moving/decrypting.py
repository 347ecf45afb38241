"""`decrypt_existing`: the way back. Values that are only sealed are written in clear; then the ciphertext goes.

State "dual": fills the column in clear, so that the state "plaintext" can follow. State "plaintext": takes away the
ciphertext that nobody reads any more, so that the column can be dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from encrypted_fields.core.errors import CmkError
from encrypted_fields.moving import DUAL, PLAINTEXT
from encrypted_fields.moving.job import Job, Row
from encrypted_fields.moving.page import keys_to_open, opened
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally


class Decryption(Job):
    """Moving fields. ValueError for a state that keeps nothing in clear, and for a column of another package."""

    def __init__(self, table: Table, fields: Sequence[Any], *, tenant: str | None = None) -> None:
        for field in fields:
            if field.state not in (PLAINTEXT, DUAL):
                raise ValueError(f"{field.name} says state={field.state!r}: deploy state={DUAL!r} first")
            if field.clear.reader is not None:
                raise ValueError(f"{field.clear.name} is another package's, which is read only")
        super().__init__(table, fields, tenant)

    def _pending(self, field: Any) -> str:
        clear, sealed = self.table.name(field.clear), self.table.name(field)
        return f"({sealed} IS NOT NULL)" if field.state == PLAINTEXT else f"({sealed} IS NOT NULL AND {clear} IS NULL)"

    def _page(self, page: list[Row], pks: list[Any], tenants: list[str | None], tally: Tally, dry_run: bool) -> None:
        for at, field in enumerate(self.fields):
            both = [row[1 + 2 * at : 3 + 2 * at] for row in page]
            sealed = [
                (number, clear, bytes(stored))
                for number, (clear, stored) in enumerate(both)
                if stored is not None and tenants[number] != "" and (clear is None or field.state == PLAINTEXT)
            ]
            tally.found += len(sealed)
            if not dry_run:
                alone = [(page[n][0], pks[n], tenants[n], data) for n, clear, data in sealed if clear is None]
                self._fill(field, alone, tally)
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
