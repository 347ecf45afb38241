"""`rekey`: the wrapped keys inside stored values are replaced, through the proxy; values are not opened.

The proxy unwraps each key and wraps it with the tenant's primary configuration of today. Only the EDEK's bytes change,
and a value's associated data does not hold them (docs/formats.md section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from encrypted_fields import client
from encrypted_fields.core import envelope
from encrypted_fields.core.errors import WITHDRAWN, CmkError, InvalidCiphertext
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import Metadata
from encrypted_fields.moving.edek import facts
from encrypted_fields.moving.encrypting import PASSES, Report
from encrypted_fields.moving.page import Tenants, label_of
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally, patiently
from encrypted_fields.policy import permit
from encrypted_fields.tenancy import metadata

AT_ONCE = 8  # calls under way: the wire API rekeys one key a call


class Rekeying:
    """The encrypted fields of one model that take their tenant from the same place.

    Keys that are already wrapped by the tenant's primary configuration are passed over, so that a run that was killed
    goes on where it was; `every`: they too, for a configuration whose master key was replaced.
    """

    def __init__(self, table: Table, fields: Sequence[Any], *, tenant: str | None = None, every: bool = False) -> None:
        self.table, self.fields, self.every = table, fields, every
        self.binding = fields[0].binding
        self.tenants = Tenants(table, self.binding, tenant)
        condition, self.params = self.tenants.condition()
        filled = " OR ".join(f"{table.name(field)} IS NOT NULL" for field in fields)
        self.where = f"({filled}) AND {condition}"
        self._primary: dict[str, int | CmkError] = {}

    def pending(self) -> int:
        """Rows to go through; which of them need it is only seen in them."""
        return self.table.count(self.where, self.params)

    def run(self, report: Report | None = None, *, dry_run: bool = False) -> Tally:
        total = Tally()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in range(1 if self.every else PASSES):
                tally = self._pass(report or (lambda rows: None), dry_run, pool)
                total.found, total.left, total.rows = max(total.found, tally.found), tally.left, tally.rows
                total.written += tally.written
                total.calls += tally.calls
                total.overtaken = tally.overtaken
                if dry_run or not tally.overtaken:
                    break
        return total

    def _pass(self, report: Report, dry_run: bool, pool: ThreadPoolExecutor) -> Tally:
        tally = Tally()
        columns = [*self.fields, *([] if self.tenants.column is None else [self.tenants.column])]
        for page in self.table.pages(columns, self.where, self.params):
            self._page(page, tally, dry_run, pool)
            report(len(page))
        return tally

    def _page(self, page: list[tuple[Any, ...]], tally: Tally, dry_run: bool, pool: ThreadPoolExecutor) -> None:
        pks = [self.table.value(self.table.pk, row[0]) for row in page]
        raw = None if self.tenants.column is None else [row[-1] for row in page]
        places: dict[tuple[str, bytes], list[tuple[Any, int, bytes, envelope.Envelope]]] = {}
        for number, tenant in enumerate(self.tenants.of(pks, raw)):
            for at, field in enumerate(self.fields):
                stored = None if page[number][1 + at] is None else bytes(page[number][1 + at])
                if stored is None or tenant == "":
                    continue
                if tenant is None:
                    tally.leave("no tenant", pks[number])
                    continue
                try:
                    parsed = envelope.parse(stored)
                    due = self._due(tenant, parsed.edek, tally)
                except CmkError as error:
                    tally.leave(type(error).__name__, pks[number])
                    continue
                if due:
                    tally.found += 1
                    places.setdefault((tenant, parsed.edek), []).append((field, number, stored, parsed))
        if dry_run:
            return
        # one call for the values of a row that share their key
        asked = list(places)
        swaps: dict[Any, list[tuple[Any, ...]]] = {}
        for name, new in zip(asked, pool.map(self._rekeyed, asked, self._about(asked)), strict=True):
            tally.calls += 1
            for field, number, stored, parsed in places[name]:
                if isinstance(new, CmkError):
                    tally.leave(type(new).__name__, pks[number])
                else:
                    row = (self.table.bytes(parsed.with_edek(new)), page[number][0], self.table.bytes(stored))
                    swaps.setdefault(field, []).append(row)
        for field, rows in swaps.items():
            tally.swapped(len(rows), self.table.swap([(field, True)], [(field, True)], rows))

    def _about(self, asked: Sequence[tuple[str, bytes]]) -> list[Metadata]:
        # here and not in the pool's threads, which know nothing of who is acting
        made = {tenant: permit(metadata(tenant, label_of(self.binding), None), "decrypt") for tenant in dict(asked)}
        return [made[tenant] for tenant, _ in asked]

    @staticmethod
    def _rekeyed(name: tuple[str, bytes], about: Metadata) -> bytes | CmkError:
        """The new EDEK; the reason why there is none, if asking again does not help."""
        tenant, edek = name
        try:
            found = patiently(partial(client.current().rekey, about, edek, tenant))
        except CmkError as error:
            if error.retryable:
                raise
            return error
        wipe(found.dek)
        return found.edek

    def _due(self, tenant: str, edek: bytes, tally: Tally) -> bool:
        config = facts(edek).config
        return self.every or config != self._config(tenant, tally)

    def _config(self, tenant: str, tally: Tally) -> int:
        """The number of the tenant's primary configuration, as a new key tells it. Raises why there is none."""
        if tenant not in self._primary:
            about = permit(metadata(tenant, label_of(self.binding), None), "encrypt")
            tally.calls += 1
            try:
                found = patiently(partial(client.current().wrap, about))
            except CmkError as error:
                if error.retryable or not isinstance(error, (*WITHDRAWN, InvalidCiphertext)):
                    raise
                self._primary[tenant] = error
            else:
                wipe(found.dek)
                self._primary[tenant] = facts(found.edek).config
        known = self._primary[tenant]
        if isinstance(known, CmkError):
            raise known
        return known
