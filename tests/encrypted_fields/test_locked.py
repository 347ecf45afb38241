"""When the customer withdraws access: typed, falsy, never ciphertext, and nothing is lost (R-34)."""

from __future__ import annotations

import datetime
import pickle
from typing import Any

import pytest
from django.db.transaction import atomic
from django.forms import modelform_factory

from encrypted_fields import Locked, tenant
from encrypted_fields.core.errors import (
    InvalidCiphertext,
    KmsError,
    KmsRefused,
    KmsThrottled,
    KmsUnreachable,
    TspUnreachable,
    UnknownTenant,
)
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.sample_app.models import Keyed, Note, Patient

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(cmk_tsp: MemoryTsp) -> list[Patient]:
    return Patient.objects.bulk_create(
        Patient(tenant_id="south" if n < 30 else "north", name=f"n{n:03}", diagnosis=f"d{n}", file_number=n)
        for n in range(100)
    )


@pytest.fixture
def locked(cmk_tsp: MemoryTsp) -> Patient:
    made = Patient.objects.create(tenant_id="north", name="Ann", diagnosis="flu", file_number=1)
    cmk_tsp.revoke("north")
    return Patient.objects.get(pk=made.pk)


def test_a_page_with_revoked_rows_shows_the_others(rows: list[Patient], cmk_tsp: MemoryTsp) -> None:
    cmk_tsp.revoke("south")
    with counted(cmk_tsp) as calls:
        shown = [row.diagnosis for row in Patient.objects.order_by("name")]
    assert all(isinstance(value, Locked) for value in shown[:30])
    assert shown[30:] == [f"d{n}" for n in range(30, 100)]
    assert len(calls) == 2  # one for each tenant
    with counted(cmk_tsp) as calls:
        values = list(Patient.objects.order_by("name").values_list("diagnosis", flat=True))
    assert len(calls) == 2
    assert [isinstance(value, Locked) for value in values] == [True] * 30 + [False] * 70


def test_a_locked_value_is_falsy_and_shows_a_sentence(locked: Patient) -> None:
    value: Any = locked.diagnosis
    assert isinstance(value, Locked)
    assert not value
    assert str(value) == f"{value}" == "access withdrawn by the customer"
    assert repr(value) == "<Locked KmsRefused>"
    assert value != "flu"
    with pytest.raises(TypeError):
        value + "x"
    assert isinstance(locked.file_number, Locked)


def test_saving_keeps_the_stored_bytes(locked: Patient, cmk_tsp: MemoryTsp) -> None:
    before = stored_bytes(locked, "diagnosis")
    assert not locked.diagnosis
    locked.name = "Bea"
    locked.save()
    locked.save(update_fields=["diagnosis"])
    Patient.objects.bulk_update([locked], ["name", "diagnosis", "file_number"])
    assert stored_bytes(locked, "diagnosis") == before
    cmk_tsp.restore("north")
    found = Patient.objects.get()
    assert (found.name, found.diagnosis, found.file_number) == ("Bea", "flu", 1)


def test_full_clean_and_forms_keep_a_locked_value(locked: Patient, cmk_tsp: MemoryTsp) -> None:
    """A form shows the sentence; posting it back changes nothing."""
    form_class = modelform_factory(Patient, fields=["name", "diagnosis", "file_number"])
    assert "access withdrawn by the customer" in str(form_class(instance=locked))
    form = form_class(
        {"name": "Bea", "diagnosis": "access withdrawn by the customer", "file_number": "9"}, instance=locked
    )
    assert form.is_valid(), form.errors
    form.save()
    locked.full_clean(exclude=["born"])
    locked.save()
    cmk_tsp.restore("north")
    found = Patient.objects.get()
    assert (found.name, found.diagnosis, found.file_number) == ("Bea", "flu", 1)


def test_a_new_value_is_refused_while_access_is_withdrawn(locked: Patient) -> None:
    before = stored_bytes(locked, "diagnosis")
    locked.diagnosis = "cold"
    with pytest.raises(KmsRefused), atomic():
        locked.save()
    with pytest.raises(KmsRefused), atomic():
        Patient.objects.bulk_create([Patient(tenant_id="north", diagnosis="x")])
    with pytest.raises(KmsRefused), atomic():
        Patient.objects.update(diagnosis="x")
    assert stored_bytes(locked, "diagnosis") == before
    assert Patient.objects.count() == 1


def test_a_locked_value_is_not_carried_to_another_row_or_tenant(locked: Patient) -> None:
    assert not locked.diagnosis
    locked.tenant_id = "south"
    with pytest.raises(ValueError, match="is locked"), atomic():
        locked.save()
    copy = Patient.objects.get()
    copy.pk = Patient().pk
    copy._state.adding = True
    with pytest.raises(ValueError, match="is locked"), atomic():
        copy.save()


def test_access_that_returns_is_seen_by_the_next_read(locked: Patient, cmk_tsp: MemoryTsp) -> None:
    data = pickle.dumps(locked)
    assert not locked.diagnosis
    cmk_tsp.restore("north")
    assert Patient.objects.get().diagnosis == "flu"
    assert pickle.loads(pickle.dumps(locked)).diagnosis == "flu"
    assert pickle.loads(data).diagnosis == "flu"


def test_raw_rows_lock_and_keep_too(locked: Patient, cmk_tsp: MemoryTsp) -> None:
    (row,) = Patient.objects.raw("SELECT * FROM sample_app_patient")
    assert isinstance(row.diagnosis, Locked)
    row.name = "Bea"
    row.save()
    cmk_tsp.restore("north")
    assert Patient.objects.get().diagnosis == "flu"


def test_an_unknown_tenant_is_locked(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        Note.objects.create(title="t", body="b")
        Note.objects.create(title="u", body="c")
        cmk_tsp._known = set()
        found = [note.body for note in Note.objects.all()]
    assert [value.reason for value in found] == ["UnknownTenant"] * 2  # type: ignore[attr-defined]
    with pytest.raises(UnknownTenant), tenant("north"), atomic():
        Note.objects.create(title="v")


@pytest.mark.parametrize("error", [TspUnreachable(), KmsUnreachable(), KmsThrottled(), KmsError("odd")], ids=repr)
def test_other_failures_raise_and_the_next_look_tries_again(
    rows: list[Patient], cmk_tsp: MemoryTsp, error: Any
) -> None:
    """Only a refusal locks. An outage is an error, never an empty value."""
    found = list(Patient.objects.all())
    cmk_tsp.failing = error
    for _ in range(2):
        with pytest.raises(type(error)):
            found[0].diagnosis  # noqa: B018
    with pytest.raises(type(error)), atomic():
        Patient.objects.create(tenant_id="north", diagnosis="x")
    cmk_tsp.failing = None
    assert found[0].diagnosis.startswith("d")
    assert Patient.objects.count() == 100


def test_a_key_that_does_not_unwrap_is_forgery_not_withdrawal(cmk_tsp: MemoryTsp) -> None:
    """The keys of the tenant's KMS are others now: one error class with every forged value."""
    with tenant("north"):
        Keyed.objects.create(code="a", value="v")
        cmk_tsp._keys.clear()
        with pytest.raises(InvalidCiphertext):
            Keyed.objects.get().value  # noqa: B018


def test_what_was_opened_before_stays_readable_in_its_instance(cmk_tsp: MemoryTsp) -> None:
    made = Patient.objects.create(tenant_id="north", diagnosis="flu", born=datetime.date(2000, 1, 1))
    cmk_tsp.revoke("north")
    assert made.diagnosis == "flu"
