"""`rekey`: the wrapped keys inside stored values are replaced, through the proxy; values are not opened.

The proxy unwraps each key and wraps it with the tenant's primary configuration of today. Only the EDEK's bytes change,
and a value's associated data does not hold them (docs/formats.md section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from encrypted_fields.conf import BATCH
from encrypted_fields.core import envelope
from encrypted_fields.core.errors import CmkError
from encrypted_fields.moving.job import PASSES, Job, Row
from encrypted_fields.moving.rewrapping import Rewrapping
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally

MOST = 4 * BATCH  # keys that wait for others of their tenant, so that these go in one call


class _Place(NamedTuple):
    """A value that holds a key."""

    field: Any
    raw_pk: Any
    pk: Any
    stored: bytes
    parsed: envelope.Envelope


class Rekeying(Job):
    """Encrypted fields, moving or not.

    Keys that are already wrapped by the tenant's primary configuration are passed over, so that a run that was killed
    goes on where it was; `every`: they too, for a configuration whose master key was replaced. `one_by_one`: a call
    for each key, for a proxy without batch-rekey.
    """

    def __init__(
        self,
        table: Table,
        fields: Sequence[Any],
        *,
        tenant: str | None = None,
        every: bool = False,
        one_by_one: bool = False,
    ) -> None:
        super().__init__(table, fields, tenant)
        self.passes = 1 if every else PASSES
        self.keys = Rewrapping(self.binding, every=every, one_by_one=one_by_one)
        self._waiting: dict[str, dict[bytes, list[_Place]]] = {}  # by tenant and EDEK, which values of a row share

    def _columns(self) -> list[Any]:
        return list(self.fields)

    def _pending(self, field: Any) -> str:
        """Which of them need it is only seen in them."""
        return f"{self.table.name(field)} IS NOT NULL"

    def _page(self, page: list[Row], pks: list[Any], tenants: list[str | None], tally: Tally, dry_run: bool) -> None:
        for number, tenant in enumerate(tenants):
            for at, field in enumerate(self.fields):
                stored = None if page[number][1 + at] is None else bytes(page[number][1 + at])
                if stored is None or tenant == "":
                    continue
                if tenant is None:
                    tally.leave("no tenant", pks[number])
                    continue
                try:
                    parsed = envelope.parse(stored)
                    due = self.keys.due(tenant, parsed.edek, tally)
                except CmkError as error:
                    tally.leave(type(error).__name__, pks[number])
                    continue
                if due:
                    tally.found += 1
                    if not dry_run:
                        place = _Place(field, page[number][0], pks[number], stored, parsed)
                        self._waiting.setdefault(tenant, {}).setdefault(parsed.edek, []).append(place)
        for tenant, keys in self._waiting.items():
            while len(keys) >= BATCH:
                self._rekey(tenant, tally)
        while sum(map(len, self._waiting.values())) > MOST:
            self._rekey(max(self._waiting, key=lambda name: len(self._waiting[name])), tally)

    def _rest(self, tally: Tally) -> None:
        for tenant in self._waiting:
            self._rekey(tenant, tally)
        self._waiting.clear()

    def _rekey(self, tenant: str, tally: Tally) -> None:
        """The tenant's first 1,000 keys, in one call."""
        waiting = self._waiting[tenant]
        asked = {edek: waiting.pop(edek) for edek in list(waiting)[:BATCH]}
        if not asked:
            return
        swaps: dict[Any, list[tuple[Any, ...]]] = {}
        over: CmkError | None = None
        for edek, new in self.keys.renewed(tenant, list(asked), tally).items():
            for place in asked[edek]:
                if isinstance(new, CmkError):
                    tally.leave(type(new).__name__, place.pk)
                    over = new if new.retryable else over
                else:
                    stored, changed = self.table.bytes(place.stored), self.table.bytes(place.parsed.with_edek(new))
                    swaps.setdefault(place.field, []).append((changed, place.raw_pk, stored))
        for field, rows in swaps.items():
            tally.swapped(len(rows), self.table.swap([(field, True)], [(field, True)], rows))
        if over is not None:
            raise over
