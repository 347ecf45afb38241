"""Sorting and filtering what no index answers: row by row in memory, 1,000 rows a call of the proxy, within a bound."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from django.core.exceptions import FieldError
from django.db import models
from django.db.models import QuerySet

from encrypted_fields.conf import BATCH
from encrypted_fields.core.errors import KmsRefused
from encrypted_fields.fields.sealed import Locked
from encrypted_fields.search.capabilities import as_stored, folded
from encrypted_fields.search.column import IndexColumn

M = TypeVar("M", bound=models.Model)
MOST = 100_000  # rows that one call looks at
MOST_SORTED = 10_000  # rows that are kept when there is no limit


class TooManyRows(ValueError):
    """More rows than the bound. Narrow the query by an index or a plain column, or raise `most` knowingly."""


def sorted_by(queryset: QuerySet[M], *names: str, limit: int | None = None, most: int | None = None) -> list[M]:
    """The rows in the order of `names` ("-salary" for descending), encrypted or not; the first `limit` of them.

    With a limit only that many rows are kept while the others stream by (at most `most`, 100,000); without, all of them
    (at most 10,000). NULL and locked values come last, whichever way. TooManyRows, and nothing is given, above that.
    """
    if not names:
        raise ValueError("sorted_by() needs the name of a field")
    if limit is not None and limit < 0:
        raise ValueError("a limit is not negative")
    _refuse_sliced(queryset)
    rows = _streamed(queryset, most or (MOST_SORTED if limit is None else MOST))
    keys = [(name.lstrip("-"), name.startswith("-")) for name in names]
    for name, _ in keys:
        queryset.model._meta.get_field(name)

    def key(row: M) -> tuple[_Key, ...]:
        return tuple(_Key(getattr(row, name), down) for name, down in keys)

    return sorted(rows, key=key) if limit is None else heapq.nsmallest(limit, rows, key=key)


def filtered_by(queryset: QuerySet[M], *, most: int = MOST, **conditions: Any) -> Iterator[M]:
    """The rows that fulfil all conditions, as they come: `filtered_by(rows, city="Kiel", name__icontains="smi")`.

    exact, in, lt, lte, gt, gte, range, contains, startswith, endswith, isnull, and iexact, icontains and their like, on
    fields of the model. What an index can answer narrows the query first; a truncated index (`Exact(bits=…)`) too, and
    the rows that it finds too many are dropped here. TooManyRows when more than `most` rows would have to be opened;
    KmsRefused for a row whose tenant withdrew access: nobody can say whether it belongs to the answer.
    """
    _refuse_sliced(queryset)
    tests: list[tuple[str, Callable[[Any], bool]]] = []
    for asked, value in conditions.items():
        name, _, lookup = asked.partition("__")
        field: Any = queryset.model._meta.get_field(name)
        tests.append((name, _test(field, lookup or "exact", value)))
        queryset = _narrowed(queryset, field, lookup or "exact", value)
    return (row for row in _streamed(queryset, most) if all(_holds(row, name, test) for name, test in tests))


def _streamed(queryset: QuerySet[M], most: int) -> Iterator[M]:
    rows = queryset if queryset._result_cache is not None else queryset.iterator(chunk_size=BATCH)
    for number, row in enumerate(rows):
        if number >= most:
            raise TooManyRows(f"more than {most} rows of {queryset.model._meta.label} would have to be opened")
        yield row


def _refuse_sliced(queryset: QuerySet[Any]) -> None:
    if queryset.query.is_sliced or queryset.query.values_select:
        raise TypeError("give the rows as instances and unsliced: the limit is an argument here")


def _narrowed(queryset: QuerySet[M], field: Any, lookup: str, value: Any) -> QuerySet[M]:
    if not getattr(field, "cmk_encrypted", False):
        return queryset.filter(**{f"{field.name}__{lookup}": value})
    if lookup == "isnull" or value is None:
        return queryset.filter(**{f"{field.name}__isnull": bool(value) if lookup == "isnull" else True})
    columns: list[IndexColumn] = [one for one in field.index_columns if len(one.sources) == 1]
    if any(lookup in one.index.lookups for one in columns):
        return queryset.filter(**{f"{field.name}__{lookup}": value})
    if lookup == "exact" and any("candidates" in one.index.lookups for one in columns):
        return queryset.filter(**{f"{field.name}__candidates": value})
    if lookup == "exact" and any("iexact" in one.index.lookups for one in columns):
        return queryset.filter(**{f"{field.name}__iexact": value})
    return queryset


def _holds(row: models.Model, name: str, test: Callable[[Any], bool]) -> bool:
    value = getattr(row, name)
    if isinstance(value, Locked):
        raise KmsRefused
    return test(value)


def _test(field: Any, lookup: str, asked: Any) -> Callable[[Any], bool]:
    """Never true for NULL, but for isnull and `= None`."""
    if not getattr(field, "cmk_encrypted", False):
        return lambda value: True  # the database has answered
    if lookup == "isnull" or asked is None:
        wanted = bool(asked) if lookup == "isnull" else True
        return lambda value: (value is None) is wanted
    if lookup in ("in", "range"):
        given = [as_stored(field, one) for one in asked if one is not None]
        if lookup == "in":
            return lambda value: value is not None and as_stored(field, value) in given
        low, high = given
        return lambda value: value is not None and low <= as_stored(field, value) <= high
    bare = lookup[1:] if lookup in _IGNORING_CASE else lookup
    compare = _COMPARE.get(bare)
    if compare is None:
        raise FieldError(f"filtered_by() does not know {lookup}")
    shaped = folded if bare != lookup else lambda value: value
    wanted_value = shaped(as_stored(field, asked))
    return lambda value: value is not None and compare(shaped(as_stored(field, value)), wanted_value)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "exact": lambda one, other: bool(one == other),
    "lt": lambda one, other: bool(one < other),
    "lte": lambda one, other: bool(one <= other),
    "gt": lambda one, other: bool(one > other),
    "gte": lambda one, other: bool(one >= other),
    "contains": lambda one, other: other in one,
    "startswith": lambda one, other: bool(one.startswith(other)),
    "endswith": lambda one, other: bool(one.endswith(other)),
}
_IGNORING_CASE = ("iexact", "icontains", "istartswith", "iendswith")


class _Key:
    """One value of a sort key; None and locked values after all others."""

    __slots__ = ("down", "missing", "value")

    def __init__(self, value: Any, down: bool) -> None:
        self.value, self.down, self.missing = value, down, value is None or isinstance(value, Locked)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Key):
            return NotImplemented
        return self.missing == other.missing and (self.missing or bool(self.value == other.value))

    def __hash__(self) -> int:
        return hash((self.missing, None if self.missing else self.value))

    def __lt__(self, other: _Key) -> bool:
        if self.missing or other.missing:
            return not self.missing
        return bool(other.value < self.value) if self.down else bool(self.value < other.value)
