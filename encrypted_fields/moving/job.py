"""What every job of a move does: passes over the pages of one table, until nobody overtook it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from encrypted_fields.conf import BATCH
from encrypted_fields.moving.page import Tenants
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally

PASSES = 5
Report = Callable[[int], None]  # takes the number of rows that were gone through
Row = tuple[Any, ...]  # as the driver gave it: the primary key, then `columns`


class Job(ABC):
    """`fields` are of one table and take their tenant from the same place; `tenant`: of the others no row is touched.

    A job looks at what is there and remembers nothing, so it may be killed and started again.
    """

    passes = PASSES
    size = BATCH  # rows of a page

    def __init__(self, table: Table, fields: Sequence[Any], tenant: str | None) -> None:
        self.table, self.fields = table, fields
        self.binding = fields[0].binding
        self.tenants = Tenants(table, self.binding, tenant)
        condition, self.params = self.tenants.condition()
        self.where = f"({' OR '.join(map(self._pending, fields))}) AND {condition}"

    def pending(self) -> int:
        """Rows to go through."""
        return self.table.count(self.where, self.params)

    def run(self, report: Report | None = None, *, dry_run: bool = False) -> Tally:
        """Passes until one is overtaken by nobody; `dry_run` only counts."""
        total = Tally()
        for _ in range(self.passes):
            tally = self._pass(report or (lambda rows: None), dry_run)
            total.follow(tally)
            if dry_run or not tally.overtaken:
                break
        return total

    def _pass(self, report: Report, dry_run: bool) -> Tally:
        tally, whose = Tally(), self.tenants.column
        columns = [*self._columns(), *([] if whose is None else [whose])]
        for page in self.table.pages(columns, self.where, self.params, self.size):
            pks = [self.table.value(self.table.pk, row[0]) for row in page]
            names = self.tenants.of(pks, None if whose is None else [row[-1] for row in page])
            self._page(page, pks, names, tally, dry_run)
            report(len(page))
        if not dry_run:
            self._rest(tally)
        return tally

    def _columns(self) -> list[Any]:
        """The fields whose columns are read."""
        return [column for field in self.fields for column in (field.clear, field)]

    @abstractmethod
    def _pending(self, field: Any) -> str:
        """SQL: this field of a row has something to do."""

    @abstractmethod
    def _page(self, page: list[Row], pks: list[Any], tenants: list[str | None], tally: Tally, dry_run: bool) -> None:
        """`tenants`: None for a row that has none, "" for one that is passed over."""

    def _rest(self, tally: Tally) -> None:
        """What was put off until the last page: nothing, but for jobs that say so."""
        return None
