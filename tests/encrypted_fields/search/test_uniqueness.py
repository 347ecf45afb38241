"""A duplicate is told before the database refuses it, wherever Django and REST framework tell it of plain columns.

Complaint 15 (field-peers): "unique / uniqueness validation"; trap 19: `unique=True` accepted on random ciphertext.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.core.exceptions import ValidationError
from django.db import models
from django.forms import modelform_factory, modelformset_factory
from django.test import RequestFactory
from rest_framework import serializers

from encrypted_fields.core.errors import KmsRefused
from encrypted_fields.rest_framework import LockedValues
from encrypted_fields.tenancy import tenant
from encrypted_fields.testing import MemoryTsp, counted
from tests.sample_app.searchable import Bed, Customer

pytestmark = pytest.mark.django_db
LOGIN = {"login": ["Customer with this Login already exists."]}
SPOT = "Bed with this Room and Place already exists."
CODE = "Bed with this Ward and Code already exists."
ROOM = "Bed with this Ward and Room already exists."


@pytest.fixture
def ann(cmk_tsp: MemoryTsp) -> Customer:
    return Customer.objects.create(tenant_id="north", login="Änn", number=2)


@pytest.fixture
def bed(cmk_tsp: MemoryTsp) -> Bed:
    return Bed.objects.create(tenant_id="north", ward="A", code="c1", room="r1", place=1)


def told(row: models.Model, how: str = "validate_unique", **options: Any) -> dict[str, list[str]]:
    try:
        getattr(row, how)(**options)
    except ValidationError as error:
        return error.message_dict
    return {}


class TestDjango:
    def test_validate_unique_alone(self, ann: Customer) -> None:
        again = Customer(tenant_id="north", login="ÄNN", number="2")
        assert told(again) == {**LOGIN, "number": ["Customer with this Number already exists."]}
        assert told(again, exclude={"number"}) == LOGIN
        assert told(again, "full_clean", exclude={"number"}) == LOGIN
        assert told(again, "full_clean", validate_unique=False) == {}
        assert told(again, "clean_fields") == {}
        again.login, again.number = "bo", None
        assert told(again) == {}
        assert told(Customer(tenant_id="south", login="ÄNN")) == {}

    def test_an_existing_row_is_not_its_own_duplicate(self, ann: Customer, cmk_tsp: MemoryTsp) -> None:
        found = Customer.objects.get(pk=ann.pk)
        with counted(cmk_tsp) as calls:
            assert told(found) == {}
        assert calls == []  # nothing of it has changed: no key is asked for
        found.login = "änn"
        found.save()
        found.login = "Änn"
        assert told(found) == {}
        other = Customer.objects.create(tenant_id="north", login="bo")
        other.login = "änn"
        assert told(other) == LOGIN
        copied = Customer.objects.get(pk=ann.pk)
        copied.pk, copied._state.adding = None, True
        copied.login, copied.number = "ÄNN", None
        assert told(copied) == LOGIN

    def test_a_row_that_goes_to_another_tenant(self, ann: Customer) -> None:
        Customer.objects.create(tenant_id="south", login="änn")
        found = Customer.objects.get(pk=ann.pk)
        found.tenant_id = "south"
        assert told(found) == LOGIN

    def test_only_the_database_tells_while_the_tenant_is_not_known(self, ann: Customer) -> None:
        assert told(Customer(login="Änn")) == {}
        with tenant("north"):
            assert told(Customer(login="Änn")) == LOGIN  # it can get no other
        with tenant("south"):
            assert told(Customer(tenant_id="north", login="Änn")) == {}  # refused at save()

    def test_during_a_rotation(self, ann: Customer, cmk_tsp: MemoryTsp, settings: Any) -> None:
        settings.CMK_INDEX_KEY_SECONDS = 0
        cmk_tsp.begin_rotation("north")
        assert told(Customer(tenant_id="north", login="änn")) == LOGIN

    def test_a_withdrawn_key_is_no_all_clear(self, ann: Customer, cmk_tsp: MemoryTsp, settings: Any) -> None:
        settings.CMK_INDEX_KEY_SECONDS = 0
        cmk_tsp.revoke("north")
        with pytest.raises(KmsRefused):
            Customer(tenant_id="north", login="änn").validate_unique()

    def test_an_index_over_several_fields(self, bed: Bed) -> None:
        again = Bed(tenant_id="north", ward="B", room="r1", place=1)
        assert told(again) == {"__all__": [SPOT]}
        assert told(again, "full_clean") == {"__all__": [SPOT]}
        assert told(again, exclude={"place"}) == {}
        again.place = 2
        assert told(again) == {}

    def test_together_with_a_plain_column(self, bed: Bed) -> None:
        again = Bed(tenant_id="north", ward="A", code="c1", room="r1")
        assert told(again) == {"__all__": [CODE]}  # unique_together
        assert told(again, "validate_constraints") == {"__all__": [ROOM]}  # UniqueConstraint
        assert told(again, "full_clean") == {"__all__": [CODE, ROOM]}
        assert told(again, "validate_constraints", exclude={"room"}) == {}
        again.ward = "B"
        assert told(again, "full_clean") == {}
        found = Bed.objects.get()
        assert told(found, "full_clean") == {}
        found.ward = "C"
        assert told(found, "full_clean") == {}

    def test_forms_and_the_admin_tell_it_beside_the_field(self, ann: Customer, bed: Bed, admin_user: Any) -> None:
        data = {"tenant_id": "north", "login": "ÄNN"}
        form = modelform_factory(Customer, fields=list(data))(data)
        assert form.errors == LOGIN
        assert modelform_factory(Customer, fields=list(data))(data, instance=ann).is_valid()
        request = RequestFactory().get("/")
        request.user = admin_user
        kind: Any = ModelAdmin(Customer, AdminSite()).get_form(request)
        assert kind(data).errors["login"] == LOGIN["login"]
        beds = {"tenant_id": "north", "ward": "A", "code": "c1", "room": "r1", "place": "1"}
        form = modelform_factory(Bed, fields=list(beds))(beds)
        assert set(form.non_field_errors()) == {SPOT, CODE, ROOM}
        del beds["code"]
        assert modelform_factory(Bed, fields=list(beds))(beds).non_field_errors() == [ROOM, SPOT]

    def test_a_formset_with_the_same_value_twice(self, ann: Customer) -> None:
        """They are not in the database yet, so only the formset can tell."""
        kind = modelformset_factory(Customer, fields=["tenant_id", "login"], extra=2)
        data = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "0"}
        for number in range(2):
            data |= {f"form-{number}-tenant_id": "north", f"form-{number}-login": "bo"}
        formset = kind(data, queryset=Customer.objects.none())
        assert formset.non_form_errors() == ["Please correct the duplicate data for login."]
        data["form-1-login"] = "cy"
        assert kind(data, queryset=Customer.objects.none()).is_valid()


def test_a_constraint_that_a_rotation_weakens_is_a_warning() -> None:
    found = [one for one in Bed.check() if one.id == "encrypted_fields.W032"]
    assert [getattr(one.obj, "name", "") for one in found] == ["code_exact_index", "room_exact_index"]
    assert [one for one in Customer.check() if one.id == "encrypted_fields.W032"] == []


def serializer_of(kind: Any, names: list[str], *bases: Any) -> Any:
    meta = type("Meta", (), {"model": kind, "fields": names})
    return type("Made", (*bases, serializers.ModelSerializer), {"Meta": meta})


@pytest.mark.parametrize("bases", [(), (LockedValues,)], ids=["plain", "LockedValues"])
class TestSerializers:
    def test_tell_it_beside_the_field(self, ann: Customer, bases: Any) -> None:
        kind = serializer_of(Customer, ["tenant_id", "login", "number"], *bases)
        sent = {"tenant_id": "north", "login": "ÄNN", "number": 2}
        found = kind(data=sent)
        assert not found.is_valid()
        assert found.errors == {**LOGIN, "number": ["Customer with this Number already exists."]}
        assert {one.code for name in found.errors for one in found.errors[name]} == {"unique"}
        assert kind(data={**sent, "tenant_id": "south"}).is_valid()
        assert kind(ann, data=sent).is_valid()
        assert kind(ann, data={"login": "änn"}, partial=True).is_valid()
        other = Customer.objects.create(tenant_id="north", login="bo")
        late = kind(other, data={"login": "änn"}, partial=True)
        assert not late.is_valid()
        assert late.errors == LOGIN
        assert other.login == "bo"  # asking changed nothing

    def test_take_the_tenant_that_is_active(self, ann: Customer, bases: Any) -> None:
        with tenant("north"):
            kind = serializer_of(Customer, ["login"], *bases)
            assert kind(data={"login": "bo"}).is_valid()
            many = kind(data=[{"login": "bo"}, {"login": "änn"}], many=True)
            assert not many.is_valid()
            assert many.errors[1] == LOGIN
            nested = type("Outer", (serializers.Serializer,), {"customer": kind()})(data={"customer": {"login": "änn"}})
            assert not nested.is_valid()
            assert nested.errors == {"customer": LOGIN}

    def test_an_index_over_several_fields(self, bed: Bed, bases: Any) -> None:
        kind = serializer_of(Bed, ["tenant_id", "place", "room", "ward", "code"], *bases)
        sent = {"tenant_id": "north", "room": "r1", "place": 1, "ward": "B"}
        found = kind(data=sent)
        assert not found.is_valid()
        assert found.errors == {"place": [SPOT]}
        assert kind(data={**sent, "place": 2}).is_valid()
        late = kind(data={**sent, "place": 2, "room": "x" * 11})
        assert not late.is_valid()
        assert list(late.errors) == ["room"]
        other = Bed.objects.create(tenant_id="north", ward="B", room="r2", place=1)
        for change in ({"room": "r1"}, {"room": "r1", "ward": "B"}):
            late = kind(other, data=change, partial=True)
            assert not late.is_valid()
            assert late.errors == {"room": [SPOT]}
        both = kind(data={**sent, "ward": "A", "code": "c1", "place": 5})
        assert not both.is_valid()
        assert both.errors == {"code": [CODE], "room": [ROOM]}
