"""`EncryptedDateField(null=True)` is `EncryptedField(models.DateField(null=True))`, in models and in migrations."""

from __future__ import annotations

import datetime
import inspect

import pytest
from django.db import models
from django.db.migrations.writer import MigrationWriter

import encrypted_fields
from encrypted_fields import EncryptedArrayField, EncryptedCharField, EncryptedDateField, EncryptedField
from encrypted_fields.fields.typed import SHORTHANDS, Options
from encrypted_fields.testing import MemoryTsp, assert_encrypted
from tests.encrypted_fields.matrix.types import TYPES
from tests.sample_app.models import Short


@pytest.mark.parametrize("name", SHORTHANDS)
def test_each_is_the_wrapper_around_its_type(name: str) -> None:
    options = {
        "EncryptedDecimalField": {"max_digits": 5, "decimal_places": 2},
        "EncryptedArrayField": {"base_field": models.IntegerField()},
    }
    field = getattr(encrypted_fields, name)(null=True, field_id="old", **options.get(name, {}))
    assert isinstance(field, EncryptedField)
    assert type(field).__name__ == name
    assert (field.null, field.field_id, field.inner.null) == (True, "old", True)
    _, path, (inner,), kwargs = field.deconstruct()
    assert (path, kwargs) == ("encrypted_fields.EncryptedField", {"field_id": "old"})
    assert f"Encrypted{type(inner).__name__}" == name
    assert type(field.clone()) is type(field)


def test_there_is_one_for_each_type_of_the_matrix() -> None:
    wrapped = {type(value.field()).__name__ for value in TYPES.values()}
    assert {f"Encrypted{name}" for name in wrapped} == set(SHORTHANDS) <= set(encrypted_fields.__all__)


def test_an_editor_knows_every_option_of_the_wrapper() -> None:
    assert Options.__annotations__.keys() >= set(inspect.signature(EncryptedField.__init__).parameters) - {
        "self",
        "base_field",
    }


def test_a_migration_shows_the_wrapper() -> None:
    short, long = EncryptedCharField("n", max_length=9), EncryptedField(models.CharField("n", max_length=9))
    assert MigrationWriter.serialize(short) == MigrationWriter.serialize(long)


@pytest.mark.parametrize("wrong", [{"max_lenght": 3}, {"max_digits": 3}, {"tenant": "x"}])
def test_refuses_what_neither_takes(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        EncryptedDateField(**wrong)  # type: ignore[call-overload]


def test_an_array_needs_its_base() -> None:
    with pytest.raises(TypeError, match="base_field"):
        EncryptedArrayField()


@pytest.mark.django_db
def test_keeps_values(cmk_tsp: MemoryTsp) -> None:
    made = Short.objects.create(tenant_id="north", born=datetime.date(2000, 1, 2))
    found = Short.objects.get()
    assert (found.born, found.visits) == (datetime.date(2000, 1, 2), 0)
    assert_encrypted(made, "born")
