"""How rows are saved, one at a time, with the calls that it costs."""

from __future__ import annotations

import datetime
import uuid

import pytest
from django.core.exceptions import FieldError

from encrypted_fields import tenant
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.encrypted_fields.people import BORN, edek, person
from tests.sample_app.models import Keyed, Note, Patient, Shared

pytestmark = pytest.mark.django_db


def test_a_save_asks_for_one_key_that_the_fields_of_the_row_share(cmk_tsp: MemoryTsp) -> None:
    one = person(file_number=7)
    assert [(call.route, call.count) for call in cmk_tsp.calls] == [("wrap", 1)]
    assert edek(one, "diagnosis") == edek(one, "born") == edek(one, "file_number")
    about = cmk_tsp.calls[0].about
    assert (about.tenant, about.data_label, about.object_id, about.requesting_id) == (
        "north",
        "sample_app.patient",
        str(one.pk),
        "tests",
    )


def test_two_tenants_share_a_row_but_no_key(cmk_tsp: MemoryTsp) -> None:
    one = Shared.objects.create(seller="north", buyer="south", price=5, wish="cheap")
    Shared.objects.bulk_create([Shared(seller="south", buyer="north", price=n, wish=f"w{n}") for n in range(2)])
    assert sorted((call.about.tenant, call.count) for call in cmk_tsp.calls) == [
        ("north", 1), ("north", 2), ("south", 1), ("south", 2)
    ]  # fmt: skip
    assert edek(one, "price") != edek(one, "wish")
    assert [(row.price, row.wish) for row in Shared.objects.order_by("id")] == [(5, "cheap"), (0, "w0"), (1, "w1")]
    Shared.objects.update(price=6, wish="none")
    assert set(Shared.objects.values_list("price", "wish")) == {(6, "none")}
    cmk_tsp.revoke("south")
    found = Shared.objects.get(pk=one.pk)
    assert found.price == 6
    assert not found.wish


def test_a_row_without_values_asks_for_nothing(cmk_tsp: MemoryTsp) -> None:
    person(diagnosis=None, born=None)
    assert cmk_tsp.calls == []


def test_values_that_nobody_opened_keep_their_bytes(cmk_tsp: MemoryTsp) -> None:
    one = person()
    before = stored_bytes(one, "diagnosis")
    found = Patient.objects.get()
    found.name = "Bea"
    with counted(cmk_tsp) as calls:
        found.save()
    assert calls == []
    assert stored_bytes(one, "diagnosis") == before
    found.born = datetime.date(2000, 1, 1)
    with counted(cmk_tsp) as calls:
        found.save()
    assert [call.route for call in calls] == ["wrap"]
    assert stored_bytes(one, "diagnosis") == before
    assert Patient.objects.get().born == datetime.date(2000, 1, 1)


def test_update_fields_writes_those_and_no_other(cmk_tsp: MemoryTsp) -> None:
    one = person()
    before = stored_bytes(one, "born")
    one.diagnosis, one.born = "cold", datetime.date(2000, 1, 1)
    one.save(update_fields=["diagnosis"])
    assert stored_bytes(one, "born") == before
    found = Patient.objects.get()
    assert (found.diagnosis, found.born) == ("cold", BORN)


def test_a_mutable_value_is_sealed_as_it_is_when_saved(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        note = Note.objects.create(title="t", extra={"a": 1})
        note.extra["a"] = 2
        note.save()
        assert Note.objects.get().extra == {"a": 2}
        found = Note.objects.get()
        found.extra["b"] = 3
        found.save(update_fields=["extra"])
        assert Note.objects.get().extra == {"a": 2, "b": 3}


def test_a_copy_gets_ciphertext_of_its_own(cmk_tsp: MemoryTsp) -> None:
    """`obj.pk = None; obj.save()`: unopened bytes are bound to the old row, so they are opened and sealed again."""
    one = person()
    copy = Patient.objects.get()
    copy.pk, copy._state.adding = uuid.uuid4(), True
    copy.save()
    assert Patient.objects.get(pk=copy.pk).diagnosis == Patient.objects.get(pk=one.pk).diagnosis == "flu"
    assert stored_bytes(copy, "diagnosis") != stored_bytes(one, "diagnosis")


def test_a_copy_of_a_row_with_a_database_key_opens(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        Note.objects.create(title="t", body="b")
        copy = Note.objects.get()
        copy.pk, copy.title, copy._state.adding = None, "u", True
        copy.save()
        assert [note.body for note in Note.objects.all()] == ["b", "b"]


def test_a_row_that_moves_to_another_tenant_is_sealed_again(cmk_tsp: MemoryTsp) -> None:
    one = person()
    moved = Patient.objects.get()
    moved.tenant_id = "south"
    moved.save()
    cmk_tsp.revoke("north")
    assert Patient.objects.get(pk=one.pk).diagnosis == "flu"


def test_an_explicit_key_that_is_not_there_yet_is_inserted(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        Keyed(code="a", value="v").save()
        assert Keyed.objects.get().value == "v"
        Keyed(code="a", value="w").save()
        assert Keyed.objects.get().value == "w"


def test_get_or_create_and_update_or_create(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        note, made = Note.objects.get_or_create(title="t", defaults={"body": "b"})
        assert made
        assert Note.objects.get_or_create(title="t", defaults={"body": "c"})[0].body == "b"
        Note.objects.update_or_create(title="t", defaults={"body": "d"})
        assert Note.objects.get().body == "d"
        with pytest.raises(FieldError, match="is encrypted"):
            Note.objects.get_or_create(body="d")
    assert note.pk


def test_refresh_and_deferred_values(cmk_tsp: MemoryTsp) -> None:
    one = person()
    Patient.objects.update(diagnosis="cold")
    one.refresh_from_db()
    assert one.diagnosis == "cold"
    part = Patient.objects.only("name").get()
    assert part.get_deferred_fields() == {"tenant_id", "diagnosis", "born", "file_number"}
    assert part.diagnosis == "cold"
    rest = Patient.objects.defer("diagnosis").get()
    assert (rest.born, rest.diagnosis) == (BORN, "cold")
    only = Patient.objects.only("diagnosis").get()
    assert only.diagnosis == "cold"  # its tenant was not selected: it is looked up
    only.save()
    assert Patient.objects.get().born == BORN


def test_defaults_are_sealed(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        Note.objects.create(title="t")
        assert Note.objects.get().body == "empty"
