"""Dicts without what the customer withdrew: `values()` of rows whose fields say `on_locked="omit"`.

class Patient(models.Model):
    objects = OmitLocked.as_manager()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db import models
from django.db.models.query import ValuesIterable

from encrypted_fields.fields.sealed import Locked


def omit_locked(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each dict without the members that are locked and whose field is to be left out."""
    for row in rows:
        yield {name: value for name, value in row.items() if not (isinstance(value, Locked) and value.omitted)}


class _Values(ValuesIterable):
    def __iter__(self) -> Iterator[dict[str, Any]]:
        return omit_locked(super().__iter__())


class OmitLocked(models.QuerySet[Any]):
    """A queryset whose `values()` leave out what is locked. `values_list()` has places and not names: there it is
    Locked, as in an instance."""

    def values(self, *fields: Any, **expressions: Any) -> Any:
        found = super().values(*fields, **expressions)
        found._iterable_class = _Values
        return found
