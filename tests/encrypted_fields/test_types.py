"""Each type of field keeps its values, in the database as ciphertext."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.transaction import atomic

from encrypted_fields import EncryptedField, tenant
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.fields.codecs import FieldCodec, from_bytes, to_bytes
from encrypted_fields.testing import MemoryTsp, assert_encrypted, stored_bytes
from tests.sample_app.models import Colour, Everything

pytestmark = pytest.mark.django_db

VALUES: dict[str, list[Any]] = {
    "text": ["plain", "", "ü" * 300, "CMK\x01 looks like ours", "\x00", "a\ud800b"],
    "char": ["x", "", "f" * 50],
    "email": ["ann@example.org"],
    "slug": ["a-b_c"],
    "url": ["https://example.org/?q=1"],
    "integer": [0, -1, 2_147_483_647],
    "positive": [0, 7],
    "small": [-32_768],
    "big": [9_223_372_036_854_775_807],
    "flag": [True, False],
    "decimal": [Decimal("0.00"), Decimal("-123456.78"), Decimal("1.50")],
    "real": [0.0, -1.5, 1e308, float("inf")],
    "date": [datetime.date(1, 1, 1), datetime.date(2024, 2, 29)],
    "time": [datetime.time(0, 0), datetime.time(23, 59, 59, 999_999)],
    "moment": [datetime.datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=datetime.UTC)],
    "span": [datetime.timedelta(0), datetime.timedelta(days=-3, microseconds=7)],
    "uuid": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
    "json": [{}, [], 0, False, "", 1.5, {"a": [1, None, {"b": "ü"}]}],
    "binary": [b"", b"\x00\xff", b"CMK\x01\x00" + bytes(60)],
    "ip": ["192.0.2.1", "2001:db8::1"],
    "colour": [Colour.RED, "b"],
}


@pytest.fixture(autouse=True)
def _north(cmk_tsp: MemoryTsp) -> Any:
    with tenant("north"):
        yield


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALUES.items() for value in values])
def test_keeps_value_and_type(name: str, value: Any) -> None:
    made = Everything.objects.create(**{name: value})
    found = getattr(Everything.objects.get(), name)
    assert found == value
    assert type(found) is (str if isinstance(value, Colour) else type(value))
    assert Everything.objects.values_list(name, flat=True).get() == value
    assert_encrypted(made, name)


@pytest.mark.parametrize("name", VALUES)
def test_null_stays_null_and_is_found_as_null(name: str, cmk_tsp: MemoryTsp) -> None:
    made = Everything.objects.create()
    assert stored_bytes(made, name) is None
    assert getattr(Everything.objects.get(), name) is None
    assert Everything.objects.filter(**{f"{name}__isnull": True}).count() == 1
    assert Everything.objects.filter(**{name: None}).count() == 1
    assert Everything.objects.exclude(**{name: None}).count() == 0
    assert cmk_tsp.calls == []


def test_there_is_a_value_for_each_field() -> None:
    assert set(VALUES) == {field.name for field in Everything._meta.fields} - {"id"}


def test_converts_as_the_inner_field_does() -> None:
    """ "12" in an IntegerField is 12; a DecimalField rounds to its places; both as from a column of their own."""
    made = Everything.objects.create(
        integer="12", decimal="1.005", date="2024-02-29", uuid="0" * 32, flag="True", ip="2001:DB8:0::1"
    )
    made = Everything.objects.get(pk=made.pk)
    assert (made.integer, made.decimal, made.date) == (12, Decimal("1.00"), datetime.date(2024, 2, 29))
    assert (made.uuid, made.flag, made.ip) == (uuid.UUID(int=0), True, "2001:db8::1")


def test_refuses_what_the_inner_field_refuses() -> None:
    with pytest.raises(ValueError, match="integer: the value does not fit a IntegerField") as caught, atomic():
        Everything.objects.create(integer="twelve")
    assert "twelve" not in str(caught.value)
    assert caught.value.__context__ is None
    assert Everything.objects.count() == 0


def test_validates_the_plaintext() -> None:
    """max_length, choices, ranges and formats are those of the value, never of the ciphertext."""
    wrong = Everything(
        char="f" * 51, email="nobody", integer=2**70, positive=-1, colour="x", decimal=Decimal("1.234"), ip="300.1.1.1"
    )
    with pytest.raises(ValidationError) as caught:
        wrong.full_clean()
    assert {"char", "email", "integer", "positive", "colour", "decimal", "ip"} <= set(caught.value.message_dict)
    assert Everything(colour="r").get_colour_display() == "Red"
    right = Everything(**{name: values[0] for name, values in VALUES.items()})
    for blank in Everything._meta.fields:
        blank.blank = blank.blank or blank.name == "json"
    right.json = {"a": 1}
    right.clean_fields(exclude=["json"])


def test_every_column_is_binary() -> None:
    with connection.cursor() as cursor:
        table = connection.introspection.get_table_description(cursor, Everything._meta.db_table)
    binary = {one.type_code for one in table if one.name != "id"}
    assert len(binary) == 1
    assert connection.introspection.get_field_type(binary.pop(), table[1]) == "BinaryField"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: EncryptedField(models.AutoField(primary_key=True)),
        lambda: EncryptedField(models.ForeignKey(Everything, models.CASCADE)),
        lambda: EncryptedField(models.FileField()),
        lambda: EncryptedField(EncryptedField(models.TextField())),
        lambda: EncryptedField(models.TextField),  # type: ignore[type-var]
        lambda: EncryptedField("text"),  # type: ignore[arg-type]
    ],
)
def test_refuses_to_wrap_what_is_no_plain_field(wrong: Any) -> None:
    with pytest.raises(TypeError, match="wraps a plain field"):
        wrong()


def test_refuses_a_type_without_a_codec() -> None:
    with pytest.raises(TypeError, match="cannot store a complex"):
        to_bytes(1j)


def test_an_array_has_the_form_of_the_formats_page() -> None:
    """docs/formats.md section 2; the base field converts each element."""
    numbers = FieldCodec(ArrayField(models.IntegerField()))
    stored = bytes.fromhex("61 00000002 6931 00000000 00000003 693232".replace(" ", ""))
    assert numbers.dump(["1", None, 22]) == stored
    assert numbers.load(stored) == [1, None, 22]
    nested = FieldCodec(ArrayField(ArrayField(models.DateField())))
    assert nested.load(nested.dump([[datetime.date(2024, 2, 29)], []])) == [[datetime.date(2024, 2, 29)], []]
    for size in range(2, len(stored) - 1):
        if size not in (7, 11):  # ends between two elements
            with pytest.raises(InvalidCiphertext):
                numbers.load(stored[:size])
    for wrong in ("text", 7, ["x"]):
        with pytest.raises(ValueError, match="does not fit a ArrayField"):
            numbers.dump(wrong)


@pytest.mark.parametrize("data", [b"", b"?x", b"\x80\x04N."])
def test_refuses_bytes_of_no_known_codec(data: bytes) -> None:
    with pytest.raises(InvalidCiphertext):
        from_bytes(data)


def test_is_an_inner_field_for_those_who_ask() -> None:
    """Forms, admin and serializers choose by class."""
    field = Everything._meta.get_field("moment")
    assert isinstance(field, models.DateTimeField)
    assert type(field.formfield()).__name__ == "DateTimeField"
