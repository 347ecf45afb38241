"""What an index needs open of a fixture is asked for in one call for up to 1,000 rows; Django saves each alone."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any
from xml.sax import SAXParseException

import pytest
from django.core import serializers
from django.core.management import call_command
from django.core.serializers.base import DeserializationError
from django.db.transaction import atomic

from encrypted_fields import Stored, tenant
from encrypted_fields.core.errors import InvalidCiphertext, KmsUnwrapFailed
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.sample_app.searchable import Customer, Order, PostIt

pytestmark = pytest.mark.django_db


def opened(calls: Any) -> list[int]:
    """How many keys each call asked for. What indexes are made with is another question."""
    return [one.count for one in calls if one.route != "derive"]


def found(name: str, **asked: Any) -> bool:
    with tenant(name):
        return Customer.objects.filter(**asked).exists()


@pytest.mark.parametrize("form", ["json", "jsonl", "xml", "yaml"])
def test_loaddata_asks_once_for_all_rows_of_a_tenant(cmk_tsp: MemoryTsp, tmp_path: Path, form: str) -> None:
    rows = [Customer(tenant_id=("north", "south")[n % 2], email=f"{n}@x.org", number=n) for n in range(40)]
    Customer.objects.bulk_create([*rows, Customer(tenant_id="north")])
    file = tmp_path / f"customers.{form}"
    call_command("dumpdata", "sample_app.Customer", format=form, output=str(file), verbosity=0)
    for there in (False, True):  # inserted, then written over
        if not there:
            Customer.objects.all().delete()
        with counted(cmk_tsp) as calls:
            call_command("loaddata", str(file), verbosity=0)
        assert opened(calls) == [20, 20]
        for number in range(40):
            name, other = ("north", "south")[:: 1 if number % 2 == 0 else -1]
            assert found(name, email=f"{number}@x.org", number=number)
            assert not found(other, email=f"{number}@x.org")


def test_a_thousand_rows_a_call(cmk_tsp: MemoryTsp) -> None:
    Customer.objects.bulk_create(Customer(tenant_id="north", email=f"{n}@x.org") for n in range(1001))
    data = serializers.serialize("python", Customer.objects.all())
    Customer.objects.all().delete()
    with counted(cmk_tsp) as calls:
        for one in serializers.deserialize("python", data):
            one.save()
    assert opened(calls) == [1000, 1]
    with tenant("north"):
        assert Customer.objects.filter(email__in=[f"{n}@x.org" for n in range(1001)]).count() == 1001


def test_rows_that_are_kept_before_they_are_saved(cmk_tsp: MemoryTsp) -> None:
    Customer.objects.bulk_create(Customer(tenant_id="north", email=f"{n}@x.org") for n in range(5))
    made = list(serializers.deserialize("json", serializers.serialize("json", Customer.objects.all())))
    with counted(cmk_tsp) as calls:
        for one in made:
            one.save()
    assert opened(calls) == [5]
    copied = pickle.loads(pickle.dumps(made[0].object.email))
    assert isinstance(copied, Stored)
    assert copied == made[0].object.email
    assert copied.ahead is None  # keys stay where they are


def test_the_tenant_at_the_end_of_a_path_and_the_active_one(cmk_tsp: MemoryTsp) -> None:
    ann, bea = (Customer.objects.create(tenant_id=name) for name in ("north", "south"))
    Order.objects.bulk_create(Order(customer=one, title="t", place="here") for one in (ann, bea, ann))
    data = serializers.serialize("json", Order.objects.all())
    with counted(cmk_tsp) as calls:
        for one in serializers.deserialize("json", data):
            one.save()
    assert sorted(opened(calls)) == [1, 2]
    with tenant("north"):
        PostIt.objects.bulk_create(PostIt(topic=str(n), body="b") for n in range(3))
        data = serializers.serialize("json", PostIt.objects.all())
        with counted(cmk_tsp) as calls:
            for one in serializers.deserialize("json", data):
                one.save()
        assert opened(calls) == [3]
        assert PostIt.objects.get(topic_body=("1", "b")).topic == "1"


def test_a_key_that_was_asked_for_ahead_opens_for_no_other_tenant(cmk_tsp: MemoryTsp) -> None:
    """The fixture says north; the row that is made of it is given to south before it is saved."""
    Customer.objects.bulk_create(Customer(tenant_id="north", email=f"{n}@x.org") for n in range(2))
    data = serializers.serialize("json", Customer.objects.all())
    Customer.objects.all().delete()
    first, second = serializers.deserialize("json", data)
    first.save()
    second.object.tenant_id = "south"
    with pytest.raises(KmsUnwrapFailed), atomic():
        second.save()


def test_a_moved_value_is_refused_and_a_withdrawn_one_filled_in_later(cmk_tsp: MemoryTsp) -> None:
    Customer.objects.bulk_create(Customer(tenant_id="north", email=f"{n}@x.org") for n in range(3))
    data = json.loads(serializers.serialize("json", Customer.objects.all()))
    Customer.objects.all().delete()
    moved = json.loads(json.dumps(data))
    moved[0]["fields"]["email"] = moved[1]["fields"]["email"]
    rows = serializers.deserialize("json", json.dumps(moved))
    with pytest.raises(InvalidCiphertext), atomic():
        next(rows).save()
    cmk_tsp.revoke("north")
    with counted(cmk_tsp) as calls:
        for one in serializers.deserialize("json", json.dumps(data)):
            one.save()
    assert len(opened(calls)) == 1
    assert {stored_bytes(one, "email_exact_index") for one in Customer.objects.all()} == {None}


@pytest.mark.parametrize("form", ["jsonl", "xml"])
def test_what_comes_before_a_broken_part_comes_first(cmk_tsp: MemoryTsp, form: str) -> None:
    Customer.objects.bulk_create(Customer(tenant_id="north", email=f"{n}@x.org") for n in range(2))
    text = serializers.serialize(form, Customer.objects.all())
    broken = text + '{"model": ' if form == "jsonl" else text.replace("</django-objects>", "<object")
    rows = serializers.deserialize(form, broken)
    assert [next(rows).object.email.data for _ in range(2)]
    with pytest.raises((DeserializationError, SAXParseException)):
        next(rows)


def test_a_row_that_django_refuses_is_refused_as_ever(cmk_tsp: MemoryTsp) -> None:
    for wrong in ({"model": "no.such", "fields": {}}, {"model": 5, "fields": {}}, {"fields": {}}):
        with pytest.raises((DeserializationError, KeyError, AttributeError)):
            list(serializers.deserialize("python", [wrong]))
    xml = '<django-objects version="1.0"><object model="no.such"></object></django-objects>'
    with pytest.raises(DeserializationError):
        list(serializers.deserialize("xml", xml))
