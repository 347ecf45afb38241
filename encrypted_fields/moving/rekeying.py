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


class Place(NamedTuple):
    """Where a key lies: `stored` is what the column holds, `parsed` what it says (its `edek` is the key)."""

    field: Any
    raw_pk: Any
    pk: Any
    stored: Any
    parsed: Any


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
        self._waiting: dict[str, dict[bytes, list[Place]]] = {}  # by tenant and EDEK, which values of a row share

    def _columns(self) -> list[Any]:
        return list(self.fields)

    def _pending(self, field: Any) -> str:
        """Which of them need it is only seen in them."""
        return f"({self.table.filled(field)})"

    def _page(self, page: list[Row], pks: list[Any], tenants: list[str | None], tally: Tally, dry_run: bool) -> None:
        for at, field in enumerate(self.fields):
            places = list[tuple[str, Place]]()
            for number, tenant in enumerate(tenants):
                stored = page[number][1 + at]
                if not stored or tenant == "":
                    continue
                if tenant is None:
                    tally.leave("no tenant", pks[number])
                else:
                    places.append((tenant, Place(field, page[number][0], pks[number], stored, None)))
            for (tenant, place), parsed in zip(places, self._parsed([place for _, place in places]), strict=True):
                self._gather(tenant, place._replace(parsed=parsed), tally, dry_run)
        for tenant, keys in self._waiting.items():
            while len(keys) >= BATCH:
                self._rekey(tenant, tally)
        while sum(map(len, self._waiting.values())) > MOST:
            self._rekey(max(self._waiting, key=lambda name: len(self._waiting[name])), tally)

    def _gather(self, tenant: str, place: Place, tally: Tally, dry_run: bool) -> None:
        try:
            if isinstance(place.parsed, CmkError):
                raise place.parsed
            due = self.keys.due(tenant, place.parsed.edek, tally)
        except CmkError as error:
            tally.leave(type(error).__name__, place.pk)
            return
        if due:
            tally.found += 1
            if not dry_run:
                self._waiting.setdefault(tenant, {}).setdefault(place.parsed.edek, []).append(place)

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
        ready, over = list[tuple[Place, bytes]](), None
        for edek, new in self.keys.renewed(tenant, list(asked), tally).items():
            for place in asked[edek]:
                if isinstance(new, CmkError):
                    tally.leave(type(new).__name__, place.pk)
                    over = new if new.retryable else over
                else:
                    ready.append((place, new))
        self._write(ready, tally)
        if over is not None:
            raise over

    def _parsed(self, places: list[Place]) -> list[Any]:
        """What each says, or the CmkError that it says nothing."""
        return [_envelope(bytes(place.stored)) for place in places]

    def _write(self, ready: list[tuple[Place, bytes]], tally: Tally) -> None:
        """Put the new EDEKs where the old ones were."""
        swaps: dict[Any, list[tuple[Any, ...]]] = {}
        for place, new in ready:
            stored, changed = self.table.bytes(bytes(place.stored)), self.table.bytes(place.parsed.with_edek(new))
            swaps.setdefault(place.field, []).append((changed, place.raw_pk, stored))
        for field, rows in swaps.items():
            tally.swapped(len(rows), self.table.swap([(field, True)], [(field, True)], rows))


def _envelope(stored: bytes) -> envelope.Envelope | CmkError:
    try:
        return envelope.parse(stored)
    except CmkError as error:
        return error
