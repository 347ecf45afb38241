"""`EncryptedCharField(max_length=50)`: short for `EncryptedField(models.CharField(max_length=50))`, one for each type.

They take the options of both. Type checkers know the value's type, with None when `null=True`. What comes out is the
same `EncryptedField`, and migrations show that one.
"""

from __future__ import annotations

import datetime
import inspect
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

from django.db import models

from encrypted_fields.fields.base import EncryptedField, OnLocked
from encrypted_fields.search.capabilities import Capability

_ST = TypeVar("_ST")
_GT = TypeVar("_GT")
_OURS = inspect.signature(EncryptedField.__init__).parameters.keys() - {"self", "base_field"}


class Options(TypedDict, total=False):
    """What the field of the type takes, and what EncryptedField takes; a type refuses what it does not know."""

    name: str
    blank: bool
    default: Any
    editable: bool
    choices: Any
    help_text: Any
    validators: Sequence[Callable[..., Any]]
    error_messages: Any
    serialize: bool
    db_column: str
    db_comment: str
    max_length: int
    allow_unicode: bool
    max_digits: int
    decimal_places: int
    auto_now: bool
    auto_now_add: bool
    encoder: Any
    decoder: Any
    protocol: str
    unpack_ipv4: bool
    base_field: models.Field[Any, Any]
    size: int
    field_id: str
    model_id: str
    tenant_from: str | Callable[[Any], object]
    bind_row: bool
    label: str
    on_locked: OnLocked
    index: Sequence[Capability]
    plaintext: str
    state: str


class Shorthand(Generic[_ST, _GT]):
    """`inner` makes the field that is wrapped."""

    def __init__(self, inner: Callable[..., models.Field[Any, Any]]) -> None:
        self.inner = inner

    if TYPE_CHECKING:

        @overload
        def __call__(
            self, verbose_name: Any = ..., *, null: Literal[True], **options: Unpack[Options]
        ) -> EncryptedField[_ST | None, _GT | None]: ...
        @overload
        def __call__(
            self, verbose_name: Any = ..., *, null: Literal[False] = ..., **options: Unpack[Options]
        ) -> EncryptedField[_ST, _GT]: ...

    def __call__(self, *args: Any, **options: Any) -> EncryptedField[Any, Any]:
        ours = {name: options.pop(name) for name in _OURS & options.keys()}
        return EncryptedField(self.inner(*args, **options), **ours)


def _array(*args: Any, **options: Any) -> models.Field[Any, Any]:
    from django.contrib.postgres.fields import ArrayField  # needs psycopg

    return ArrayField(*args, **options)


EncryptedCharField: Shorthand[str, str] = Shorthand(models.CharField)
EncryptedTextField: Shorthand[str, str] = Shorthand(models.TextField)
EncryptedEmailField: Shorthand[str, str] = Shorthand(models.EmailField)
EncryptedSlugField: Shorthand[str, str] = Shorthand(models.SlugField)
EncryptedURLField: Shorthand[str, str] = Shorthand(models.URLField)
EncryptedGenericIPAddressField: Shorthand[str, str] = Shorthand(models.GenericIPAddressField)
EncryptedIntegerField: Shorthand[int, int] = Shorthand(models.IntegerField)
EncryptedBigIntegerField: Shorthand[int, int] = Shorthand(models.BigIntegerField)
EncryptedSmallIntegerField: Shorthand[int, int] = Shorthand(models.SmallIntegerField)
EncryptedPositiveIntegerField: Shorthand[int, int] = Shorthand(models.PositiveIntegerField)
EncryptedPositiveBigIntegerField: Shorthand[int, int] = Shorthand(models.PositiveBigIntegerField)
EncryptedPositiveSmallIntegerField: Shorthand[int, int] = Shorthand(models.PositiveSmallIntegerField)
EncryptedBooleanField: Shorthand[bool, bool] = Shorthand(models.BooleanField)
EncryptedDecimalField: Shorthand[Decimal | str, Decimal] = Shorthand(models.DecimalField)
EncryptedFloatField: Shorthand[float, float] = Shorthand(models.FloatField)
EncryptedDateField: Shorthand[datetime.date | str, datetime.date] = Shorthand(models.DateField)
EncryptedTimeField: Shorthand[datetime.time | str, datetime.time] = Shorthand(models.TimeField)
EncryptedDateTimeField: Shorthand[datetime.datetime | str, datetime.datetime] = Shorthand(models.DateTimeField)
EncryptedDurationField: Shorthand[datetime.timedelta, datetime.timedelta] = Shorthand(models.DurationField)
EncryptedUUIDField: Shorthand[uuid.UUID | str, uuid.UUID] = Shorthand(models.UUIDField)
EncryptedJSONField: Shorthand[Any, Any] = Shorthand(models.JSONField)
EncryptedBinaryField: Shorthand[bytes, bytes] = Shorthand(models.BinaryField)
EncryptedArrayField: Shorthand[Sequence[Any], list[Any]] = Shorthand(_array)

SHORTHANDS = {name: value for name, value in list(globals().items()) if isinstance(value, Shorthand)}
