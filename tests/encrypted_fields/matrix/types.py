"""The types of the matrix: a field and three of its values, the first one falsy where there is such a value."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Colour(models.TextChoices):
    RED = "r", "Red"
    BLUE = "b", "Blue"
    GREEN = "g", "Green"


class Level(models.IntegerChoices):
    NONE = 0, "None"
    SOME = 1, "Some"
    MUCH = 2, "Much"


class Type(NamedTuple):
    field: Callable[..., Any]
    values: tuple[Any, Any, Any]


def _of(field: type[models.Field[Any, Any]], *values: Any, **options: Any) -> Type:
    first, second, third = values
    return Type(lambda **more: field(**options, **more), (first, second, third))


def _moment(day: int) -> datetime.datetime:
    # milliseconds: SQLite's CAST of a plain column keeps no more
    return datetime.datetime(2024, 2, day, 23, 59, 59, 123_000, tzinfo=datetime.UTC)


TYPES = {
    "text": _of(models.TextField, "", "one ü", "two\nlines"),
    "char": _of(models.CharField, "", "one", "two", max_length=50),
    "email": _of(models.EmailField, "", "ann@example.org", "bea@example.org"),
    "slug": _of(models.SlugField, "", "a-b", "c_d"),
    "url": _of(models.URLField, "", "https://example.org/?q=1", "https://example.org/#x"),
    "integer": _of(models.IntegerField, 0, -1, 2_147_483_647),
    "big": _of(models.BigIntegerField, 0, -1, 9_223_372_036_854_775_807),
    "small": _of(models.SmallIntegerField, 0, -1, 32_767),
    "positive": _of(models.PositiveIntegerField, 0, 1, 2_147_483_647),
    "positive_big": _of(models.PositiveBigIntegerField, 0, 1, 9_223_372_036_854_775_807),
    "positive_small": _of(models.PositiveSmallIntegerField, 0, 1, 32_767),
    "flag": _of(models.BooleanField, False, True, False),
    "decimal": _of(
        models.DecimalField, Decimal("0.00"), Decimal("-1.50"), Decimal("999.99"), max_digits=5, decimal_places=2
    ),
    "real": _of(models.FloatField, 0.0, -1.5, 1e300),
    "date": _of(models.DateField, datetime.date(1, 1, 1), datetime.date(2024, 2, 29), datetime.date(9999, 12, 31)),
    "time": _of(models.TimeField, datetime.time(0, 0), datetime.time(12, 30), datetime.time(23, 59, 59, 999_999)),
    "moment": _of(models.DateTimeField, _moment(1), _moment(28), _moment(29)),
    "span": _of(
        models.DurationField,
        datetime.timedelta(0),
        datetime.timedelta(days=-3, microseconds=7),
        datetime.timedelta(hours=5),
    ),
    "uuid": _of(models.UUIDField, uuid.UUID(int=0), uuid.UUID(int=7), uuid.UUID(int=2**128 - 1)),
    "json": _of(models.JSONField, {}, {"k": [1, None, {"ü": 1.5}]}, [False]),
    "binary": _of(models.BinaryField, b"", b"\x00\xff", b"CMK\x01\x00", editable=True),
    "ip": _of(models.GenericIPAddressField, "192.0.2.1", "2001:db8::1", "::1"),
    "colour": _of(models.CharField, "r", "b", "g", max_length=1, choices=Colour.choices),
    "level": _of(models.IntegerField, 0, 1, 2, choices=Level.choices),
    "array": _of(ArrayField, [], [1, 2], [None, 3], base_field=models.IntegerField(null=True)),
}
ARRAYS = {"array"}  # a plain column of them exists on PostgreSQL only
