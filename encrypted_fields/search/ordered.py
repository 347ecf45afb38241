"""`Ordered()`: ranges and ordering by the database, for those who accept what it shows. An opt-in (W031)."""

from __future__ import annotations

import datetime
import hmac
from collections.abc import Sequence
from typing import Any

from django.db import models
from django.utils.deconstruct import deconstructible

from encrypted_fields.core.blind import HEAD
from encrypted_fields.core.order import DIGIT, MOST_WIDTH, ordered
from encrypted_fields.search.capabilities import Capability, as_stored

_DAY = datetime.timedelta(days=1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_EPOCH = datetime.datetime(1, 1, 1)
_INTEGERS = [(models.SmallIntegerField, 16), (models.BigIntegerField, 64), (models.IntegerField, 32)]


@deconstructible(path="encrypted_fields.search.Ordered")
class Ordered(Capability):
    """`filter(salary__gt=…)`, `__gte`, `__lt`, `__lte`, `__range` and `order_by("salary")`: for whole numbers, decimals
    of up to 18 digits, dates, times, moments and durations.

    Shows, to whoever reads the column, the order of all values of a tenant and for any two of them the first bit in
    which they differ (core.order): with many values, roughly the values themselves.
    """

    name = "ordered"
    lookups = frozenset({"lt", "lte", "gt", "gte", "range"})

    def encode(self, fields: Sequence[Any], values: Sequence[Any]) -> tuple[bytes, ...] | None:
        """8 bytes of the number in whose order the values are."""
        (field,), (value,) = fields, values
        if value is None:
            return None
        number, width = _number(field.inner, as_stored(field, value)), width_of(field.inner)
        if width is None or number < 0 or number >> width:
            raise ValueError(f"{field.name}: the value is outside of what a {type(field.inner).__name__} orders")
        return (number.to_bytes(8, "big"),)

    def stored(self, mac: hmac.HMAC, number: int, values: Sequence[bytes], fields: Sequence[Any]) -> bytes:
        width = width_of(fields[0].inner)
        return ordered(mac, number, int.from_bytes(values[0], "big"), width or 0)

    def size(self, fields: Sequence[Any]) -> int:
        return HEAD + DIGIT * (width_of(fields[0].inner) or 0)


def width_of(inner: models.Field[Any, Any]) -> int | None:
    """Bits of the numbers that the field's values become; None for a type that is not ordered here."""
    if isinstance(inner, models.DecimalField):
        # a sign, and the digits with the point taken out
        width = (10**inner.max_digits).bit_length() + 1 if inner.max_digits else MOST_WIDTH + 1
        return width if width <= MOST_WIDTH else None
    if isinstance(inner, models.DateTimeField):
        return 59
    if isinstance(inner, models.DateField):
        return 22
    if isinstance(inner, models.TimeField):
        return 37
    if isinstance(inner, models.DurationField):
        return 64
    return next((width for kind, width in _INTEGERS if isinstance(inner, kind)), None)


def _number(inner: models.Field[Any, Any], value: Any) -> int:
    middle = 1 << (width_of(inner) or MOST_WIDTH) - 1
    if isinstance(inner, models.DecimalField):
        return int(value.scaleb(inner.decimal_places or 0)) + middle
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo is None else value.astimezone(datetime.UTC).replace(tzinfo=None)
        return (moment - _EPOCH) // _MICROSECOND
    if isinstance(value, datetime.date):
        return value.toordinal()
    if isinstance(value, datetime.time):
        moment = datetime.datetime.combine(_EPOCH, value.replace(tzinfo=None))
        return (moment - _EPOCH) // _MICROSECOND
    if isinstance(value, datetime.timedelta):
        return value // _MICROSECOND + middle
    return int(value) + middle
