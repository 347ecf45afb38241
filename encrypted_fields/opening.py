"""Open rows on purpose: all their values at once, before the first of them is looked at, and off the event loop.

with decrypted(Patient.objects.prefetch_related("visits")) as rows: …
async with decrypted(queryset) as rows: …
async for row in decrypted(queryset): …         # 1,000 at a time
patient = await aopen(await Patient.objects.aget(pk=pk))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.db import models

from encrypted_fields.conf import BATCH
from encrypted_fields.fields.relatives import with_relatives

M = TypeVar("M", bound=models.Model)


class decrypted(Generic[M]):  # noqa: N801 - used like a function, as contextlib's own
    """The rows of a queryset, or any rows, with their encrypted values open; so are those of related rows that were
    loaded with them (select_related, prefetch_related). `fields`: only these, and only of the rows themselves.

    What the customer withdrew is Locked, or raises where the field says so. Nothing is closed at the end: what was
    opened stays in its row, as after any look.
    """

    def __init__(self, rows: Iterable[M], *fields: str) -> None:
        self._rows, self._fields = rows, fields

    def __enter__(self) -> list[M]:
        rows = list(self._rows)
        open_rows(rows, self._fields)
        return rows

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing to undo."""

    async def __aenter__(self) -> list[M]:
        return await sync_to_async(self.__enter__)()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Nothing to undo."""

    async def __aiter__(self) -> AsyncIterator[M]:
        rows = self._rows
        waiting = rows.iterator(chunk_size=BATCH) if isinstance(rows, models.QuerySet) else iter(rows)

        def block() -> list[M]:
            found = list(islice(waiting, BATCH))
            open_rows(found, self._fields)
            return found

        while found := await sync_to_async(block)():
            for row in found:
                yield row


async def aopen(row: M) -> M:
    """The row, with its encrypted values open."""
    await sync_to_async(open_rows)([row])
    return row


def open_rows(rows: Iterable[Any], fields: Iterable[str] = ()) -> None:
    """Look at each encrypted value that came with the rows. What was deferred stays so."""
    names = set(fields)
    for row in rows if names else with_relatives(rows):
        if not isinstance(row, models.Model):
            continue  # values() are open already
        for field in row._meta.concrete_fields:
            encrypted = getattr(field, "cmk_encrypted", False) and field.attname in row.__dict__
            if encrypted and (not names or field.name in names):
                getattr(row, field.attname)
