"""Python value ↔ bytes, by type: one tag byte, then the type's own form. No pickle. docs/formats.md section 2.

Each codec is one line of `CODECS`: tag, type, to bytes, from bytes. The tag is sealed with the value, so a value comes
back as the type that went in, and nobody without the key can change it.
"""

from __future__ import annotations

import datetime
import json
import struct
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.utils import format_number

from encrypted_fields.core.errors import InvalidCiphertext

_MICROSECOND = datetime.timedelta(microseconds=1)


class Codec(NamedTuple):
    tag: bytes
    type: type
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]


def _dump_datetime(value: datetime.datetime) -> bytes:
    moment = value if value.tzinfo is None else value.astimezone(datetime.UTC)
    return moment.isoformat().encode()


TEXT = b"s"
CODECS = [
    Codec(
        TEXT,
        str,
        lambda value: value.encode("utf-8", "surrogatepass"),
        lambda data: data.decode("utf-8", "surrogatepass"),
    ),
    Codec(b"b", bool, lambda value: b"\x01" if value else b"\x00", lambda data: data == b"\x01"),
    Codec(b"i", int, lambda value: b"%d" % value, int),
    Codec(b"f", float, lambda value: struct.pack(">d", value), lambda data: struct.unpack(">d", data)[0]),
    Codec(b"d", Decimal, lambda value: str(value).encode(), lambda data: Decimal(data.decode())),
    # a datetime is a date, so it comes first
    Codec(b"m", datetime.datetime, _dump_datetime, lambda data: datetime.datetime.fromisoformat(data.decode())),
    Codec(
        b"D",
        datetime.date,
        lambda value: value.isoformat().encode(),
        lambda data: datetime.date.fromisoformat(data.decode()),
    ),
    Codec(
        b"t",
        datetime.time,
        lambda value: value.isoformat().encode(),
        lambda data: datetime.time.fromisoformat(data.decode()),
    ),
    Codec(
        b"p", datetime.timedelta, lambda value: b"%d" % (value // _MICROSECOND), lambda data: int(data) * _MICROSECOND
    ),
    Codec(b"u", uuid.UUID, lambda value: value.bytes, lambda data: uuid.UUID(bytes=data)),
    Codec(b"y", bytes, bytes, bytes),
    Codec(b"y", bytearray, bytes, bytes),
    Codec(b"y", memoryview, bytes, bytes),
]
JSON, ARRAY = b"j", b"a"
_BY_TYPE = {codec.type: codec for codec in CODECS}
_BY_TAG = {codec.tag[0]: codec for codec in reversed(CODECS)}


def to_bytes(value: object) -> bytes:
    """TypeError for a type without a codec: convert it in the field's `get_prep_value`."""
    codec = _BY_TYPE.get(type(value))
    if codec is None:  # an enum member, a SafeString, a subclass
        codec = next((one for one in CODECS if isinstance(value, one.type)), None)
    if codec is None:
        raise TypeError(f"an encrypted field cannot store a {type(value).__name__}")
    return codec.tag + codec.dump(value)


def from_bytes(data: bytes) -> Any:
    """The value that `to_bytes` took. InvalidCiphertext for a tag of a later version."""
    codec = _BY_TAG.get(data[0]) if data else None
    if codec is None:
        raise InvalidCiphertext
    return codec.load(data[1:])


class FieldCodec:
    """The codec of one field: what its column would have kept, in bytes."""

    def __init__(self, inner: models.Field[Any, Any]) -> None:
        self.inner = inner
        self.json = isinstance(inner, models.JSONField)
        # by its shape: to import ArrayField is to need psycopg
        items: Any = getattr(inner, "base_field", None) if hasattr(inner, "size") else None
        self.items = None if items is None else FieldCodec(items)
        kind = type(inner)
        # Such a field stores a str as it is.
        self.text = kind.get_prep_value in (
            models.CharField.get_prep_value,
            models.TextField.get_prep_value,
        ) and kind.to_python in (models.CharField.to_python, models.TextField.to_python)

    def dump(self, value: object) -> bytes:
        """The inner field converts first ("12" in an IntegerField is 12), as it does for a column of its own.

        ValueError, without the value, for what it does not take.
        """
        if self.text and type(value) is str:
            return TEXT + value.encode("utf-8", "surrogatepass")
        try:
            return self._dump(value)
        except (TypeError, ValueError, ArithmeticError, ValidationError):
            pass
        # outside the except block: the inner field's error quotes the value
        raise ValueError(f"{self.inner.name}: the value does not fit a {type(self.inner).__name__}")

    def _dump(self, value: object) -> bytes:
        inner = self.inner
        if isinstance(inner, models.JSONField):
            return JSON + json.dumps(value, cls=inner.encoder, separators=(",", ":")).encode()
        if self.items is not None:
            return ARRAY + b"".join(_sized(b"" if one is None else self.items._dump(one)) for one in _sequence(value))
        value = inner.get_prep_value(value)
        if isinstance(inner, models.DecimalField) and isinstance(value, Decimal) and value.is_finite():
            # as a numeric column rounds; raises for more digits than max_digits
            value = Decimal(str(format_number(value, inner.max_digits, inner.decimal_places)))
        if isinstance(inner, models.GenericIPAddressField | models.UUIDField) and value is not None:
            value = inner.to_python(value)
        return to_bytes(value)

    def load(self, data: bytes) -> Any:
        if data[:1] == JSON:
            decoder = self.inner.decoder if isinstance(self.inner, models.JSONField) else None
            return json.loads(data[1:], cls=decoder)
        if data[:1] == ARRAY and self.items is not None:
            return [self.items.load(one) if one else None for one in _parts(data[1:])]
        return from_bytes(data)


def _sequence(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("an array is a list or a tuple")
    return value


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _parts(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if at + 4 > len(data) or end > len(data):
            raise InvalidCiphertext
        yield data[at + 4 : end]
        at = end
