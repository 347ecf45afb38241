"""Escape hatches: stored bytes out, and values sealed by hand for programs that insert past the ORM."""

from __future__ import annotations

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection

from encrypted_fields import Stored, ciphertext_for, sealed_rows, tenant
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import BORN, edek, people, person
from tests.sample_app.models import Note, Patient, SpecialPatient

pytestmark = pytest.mark.django_db
ENCRYPTED = ("diagnosis", "born", "file_number")


def test_gives_the_stored_bytes_and_asks_for_no_key(cmk_tsp: MemoryTsp) -> None:
    one = person(file_number=None)
    with counted(cmk_tsp) as calls:
        assert (ciphertext_for(one, "diagnosis") or b"").startswith(b"CMK")
        assert ciphertext_for(one, "file_number") is None
    assert calls == []
    with pytest.raises(TypeError, match="not a column"):
        ciphertext_for(one, "visits")
    one.delete()
    with pytest.raises(ObjectDoesNotExist, match="not in the database"):
        ciphertext_for(one, "diagnosis")


def test_rows_sealed_by_hand_open_like_saved_ones(cmk_tsp: MemoryTsp) -> None:
    """One key a row, one call for each thousand rows of a tenant; PostgreSQL takes them through COPY."""
    rows = [
        Patient(tenant_id="north" if n % 2 else "south", name=f"n{n:04}", diagnosis=f"d{n}", born=BORN)
        for n in range(2004)
    ]
    with counted(cmk_tsp) as calls:
        sealed = sealed_rows(rows)
    assert sorted((call.about.tenant, call.count) for call in calls) == [
        ("north", 2), ("north", 1000), ("south", 2), ("south", 1000),
    ]  # fmt: skip
    assert {row["file_number"] for row in sealed} == {None}
    columns = [Patient._meta.get_field(name).column for name in ("id", "tenant_id", "name", *ENCRYPTED)]
    table, names = Patient._meta.db_table, ", ".join(columns)
    lines = [
        (Patient._meta.pk.get_db_prep_value(row.pk, connection), row.tenant_id, row.name, *(one[n] for n in ENCRYPTED))
        for row, one in zip(rows, sealed, strict=True)
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for line in lines:
                    copy.write_row(line)
        else:
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", lines)
    found = Patient.objects.order_by("name")
    assert [(row.diagnosis, row.born, row.file_number) for row in found] == [(f"d{n}", BORN, None) for n in range(2004)]


def test_fields_of_a_row_share_its_key_and_names_may_be_few(cmk_tsp: MemoryTsp) -> None:
    one = Patient(tenant_id="north", diagnosis="flu", born=BORN)
    (sealed,) = sealed_rows([one], "diagnosis", "born")
    assert set(sealed) == {"diagnosis", "born"}
    saved = person()
    assert edek(saved, "diagnosis") == edek(saved, "born")
    with pytest.raises(TypeError, match="not an encrypted field"):
        sealed_rows([one], "name")


def test_unopened_values_are_given_as_they_are(cmk_tsp: MemoryTsp) -> None:
    person()
    row = Patient.objects.get()
    before = ciphertext_for(row, "diagnosis")
    with counted(cmk_tsp) as calls:
        assert sealed_rows([row], "diagnosis") == [{"diagnosis": before}]
    assert calls == []


def test_stored_bytes_are_written_unchanged(cmk_tsp: MemoryTsp) -> None:
    """A restore from a backup: assigned, validated, saved in each way, and never sealed again."""
    people(2)
    one, two = Patient.objects.order_by("name")
    before = ciphertext_for(one, "diagnosis") or b""
    one.diagnosis = "changed"
    one.save()
    one.diagnosis = Stored(before)
    one.full_clean(exclude=["name"])
    with counted(cmk_tsp) as calls:
        one.save(update_fields=["diagnosis"])
        one.save()
    assert ciphertext_for(one, "diagnosis") == before
    assert [call.count for call in calls if call.route != "unwrap"] in ([], [1])
    assert Patient.objects.get(pk=one.pk).diagnosis == "d0"
    one.diagnosis = Stored(before)
    with counted(cmk_tsp) as calls:
        Patient.objects.bulk_update([one], ["diagnosis"])
        Patient.objects.filter(pk=one.pk).update(diagnosis=Stored(before))
    assert calls == []
    assert ciphertext_for(one, "diagnosis") == before
    two.diagnosis = Stored(before)  # of another row
    two.save()
    with pytest.raises(InvalidCiphertext):
        Patient.objects.get(pk=two.pk).diagnosis  # noqa: B018
    copy = Patient(pk=one.pk, tenant_id="north", diagnosis=Stored(before))
    one.delete()
    Patient.objects.bulk_create([copy])
    assert Patient.objects.get(pk=copy.pk).diagnosis == "d0"
    assert repr(copy.diagnosis) == "<Stored>"


def test_refuses_bytes_that_are_no_sealed_value() -> None:
    for data in (b"", b"plain", b"CMK\x02\x00"):
        with pytest.raises(InvalidCiphertext):
            Stored(data)


def test_a_context_tenant_and_a_child_table(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        note = Note(title="t", body="b")
        (sealed,) = sealed_rows([note])
        assert sealed["extra"] is None
        note.body = Stored(sealed["body"] or b"")
        note.save()
        assert Note.objects.get().body == "b"
    child = SpecialPatient.objects.create(tenant_id="north", diagnosis="flu", plan="rest")
    assert ciphertext_for(child, "plan") != ciphertext_for(child, "diagnosis")
