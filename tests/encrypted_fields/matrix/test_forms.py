"""Forms, admin, validation and REST framework see the inner field: for each type, compared with a plain twin."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.admin.utils import display_for_field, label_for_field
from rest_framework.serializers import ModelSerializer

from encrypted_fields import EncryptedField
from tests.encrypted_fields.matrix.models import SHAPES
from tests.encrypted_fields.matrix.types import TYPES

pytestmark = pytest.mark.filterwarnings("ignore:The default scheme will be changed")  # of Django's own URLField
CASES = [(name, *(side.row for side in sides)) for name, sides in SHAPES["uuid"].items()]
of_each_type = pytest.mark.parametrize(("name", "plain", "sealed"), CASES, ids=list(TYPES))
WRONG = ["x" * 300, "not a number, date or list", "-1", "99999999999999999999", "1.2345", "300.1.1.1", "\x00", ""]


def model_form(model: Any, name: str) -> type[forms.ModelForm[Any]]:
    return forms.modelform_factory(model, fields=[name])


def written(found: Any) -> str:
    """To compare without addresses and without the name of the field's class."""
    text = repr(bytes(found) if isinstance(found, memoryview) else found)
    return re.sub(r"<memory at \w+>", "<memory>", re.sub(r"<\S+\.(Encrypted)?(\w+Field): ", r"<\2: ", text))


def shown(model: Any, name: str, value: Any) -> Any:
    return model_form(model, name)(instance=model(**{name: value}))


def sent(model: Any, name: str, data: Any) -> Any:
    """A form that took `data`: what it says and what the instance has then."""
    form = model_form(model, name)(data, instance=model())
    return outcome(lambda: (form.is_valid(), form.errors)), written(getattr(form.instance, name))


def outcome(operation: Callable[[], Any]) -> Any:
    """What it returns, or says: some fields of Django answer wrong input with an error that is no ValidationError."""
    try:
        return operation()
    except Exception as error:
        return type(error), getattr(error, "messages", str(error))


@of_each_type
def test_the_form_field_is_that_of_the_inner_field(name: str, plain: Any, sealed: Any) -> None:
    for kind in TYPES[name].field(), TYPES[name].field(null=True, blank=True, verbose_name="a name", help_text="h"):
        twin = EncryptedField(kind.clone())
        for field in (kind, twin):
            field.set_attributes_from_name(name)
        expected, found = kind.formfield(), twin.formfield()
        if expected is None:
            assert found is None
            continue
        for seen in ("required", "label", "help_text", "initial", "max_length", "min_value", "max_value", "choices"):
            assert getattr(found, seen, None) == getattr(expected, seen, None)
        assert type(found) is type(expected)
        assert type(found.widget) is type(expected.widget)
        assert found.widget.attrs == expected.widget.attrs


@of_each_type
def test_a_model_form_shows_and_takes_values(name: str, plain: Any, sealed: Any) -> None:
    for value in (*TYPES[name].values, None):
        pages = [shown(model, name, value).as_p() for model in (plain, sealed)]
        assert pages[0] == pages[1]
        part = re.search(r'value="([^"]*)"|<textarea[^>]*>\n(.*?)</textarea>', pages[1], re.DOTALL)
        data = {} if part is None else {name: unescape(part[1] or part[2] or "")}
        assert sent(sealed, name, data) == sent(plain, name, data)


@of_each_type
def test_wrong_input_gets_the_errors_of_the_inner_field(name: str, plain: Any, sealed: Any) -> None:
    for wrong in WRONG:
        assert sent(sealed, name, {name: wrong}) == sent(plain, name, {name: wrong})


@of_each_type
def test_full_clean_validates_the_plaintext(name: str, plain: Any, sealed: Any) -> None:
    for value in (*TYPES[name].values, *WRONG, None, 2**70):
        found = []
        for model in (plain, sealed):
            instance = model(**{name: value})
            found.append((outcome(instance.clean_fields), written(getattr(instance, name))))
        assert found[0] == found[1]


@of_each_type
def test_defaults_are_those_of_the_inner_field(name: str, plain: Any, sealed: Any) -> None:
    kind, value = TYPES[name], TYPES[name].values[1]
    given = value if isinstance(value, str | int | float | bytes) else (lambda: value)
    for options in ({}, {"null": True}, {"default": given}, {"blank": True}):
        field = kind.field(**options)
        assert EncryptedField(field.clone()).get_default() == field.get_default()
        assert EncryptedField(field.clone()).has_default() == field.has_default()


@of_each_type
def test_the_admin_shows_and_edits_it_alike(name: str, plain: Any, sealed: Any) -> None:
    site = admin.AdminSite()
    found = []
    for model in (plain, sealed):
        field = model._meta.get_field(name)
        model_admin = admin.ModelAdmin(model, site)
        form_field = model_admin.formfield_for_dbfield(field, request=None)
        found.append(
            (
                type(form_field),
                type(getattr(form_field, "widget", None)),
                label_for_field(name, model, model_admin),
                [display_for_field(value, field, "-") for value in (*TYPES[name].values, None)],
            )
        )
    assert found[0] == found[1]


@of_each_type
def test_a_serializer_of_rest_framework_maps_it_alike(name: str, plain: Any, sealed: Any) -> None:
    found = []
    for model in (plain, sealed):
        meta = type("Meta", (), {"model": model, "fields": [name]})
        serializer: Any = type("Of", (ModelSerializer,), {"Meta": meta})
        values = [serializer(model(**{name: value})).data for value in (*TYPES[name].values, None)]
        forms = [serializer(data=data) for data in (*values, *({name: wrong} for wrong in WRONG))]
        taken = [outcome(lambda one=form: (one.is_valid(), one.errors, one.validated_data)) for form in forms]
        found.append(written([serializer(), values, taken]))
    assert found[0] == found[1]


@of_each_type
def test_choices_have_their_display(name: str, plain: Any, sealed: Any) -> None:
    if not TYPES[name].field().choices:
        assert not hasattr(sealed, f"get_{name}_display")
        return
    shown = [
        [getattr(model(**{name: v}), f"get_{name}_display")() for v in TYPES[name].values] for model in (plain, sealed)
    ]
    assert shown[0] == shown[1]
    assert all(shown[1])


@of_each_type
def test_checks_find_what_they_find_in_the_inner_field(name: str, plain: Any, sealed: Any) -> None:
    found = [[problem.id for problem in model._meta.get_field(name).check()] for model in (plain, sealed)]
    assert found[0] == found[1]


@of_each_type
def test_an_attribute_takes_what_was_set_and_decrypts_nothing(name: str, plain: Any, sealed: Any) -> None:
    """Pasted ciphertext stays what it is: to_python and attributes open nothing (trap 1)."""
    value = TYPES[name].values[1]
    assert getattr(sealed(**{name: value}), name) == value
    field = sealed._meta.get_field(name)
    assert field.to_python(value) == plain._meta.get_field(name).to_python(value)
