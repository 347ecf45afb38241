"""Many rows at once: bulk_create, bulk_update, update and upserts, with the calls that they cost."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import connection, models
from django.db.models import Case, F, Q, Subquery, Value, When
from django.db.models.functions import Cast, Coalesce, Concat, Upper
from django.db.transaction import atomic

from encrypted_fields import EncryptedField, tenant
from encrypted_fields.core import envelope
from encrypted_fields.core.errors import KmsThrottled
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.encrypted_fields.people import BORN, people, person
from tests.sample_app.models import Clinic, Note, Patient, Visit

pytestmark = pytest.mark.django_db


def test_bulk_create_asks_once_a_statement_of_up_to_a_thousand_rows(cmk_tsp: MemoryTsp) -> None:
    size = connection.ops.bulk_batch_size(Patient._meta.concrete_fields, list(range(2500)))
    people(2500)
    statements = [min(size, 2500 - start) for start in range(0, 2500, size)]
    assert len(cmk_tsp.calls) == sum(-(-count // 1000) for count in statements)
    assert sum(call.count for call in cmk_tsp.calls) == 2500
    assert {call.route for call in cmk_tsp.calls} <= {"batch_wrap", "wrap"}


def test_bulk_create_for_several_tenants_asks_each(cmk_tsp: MemoryTsp) -> None:
    rows = [Patient(tenant_id=name, diagnosis=f"of {name}") for name in ("north", "south", "north")]
    Patient.objects.bulk_create(rows)
    assert sorted((call.about.tenant, call.count) for call in cmk_tsp.calls) == [("north", 2), ("south", 1)]
    assert {one.tenant_id: one.diagnosis for one in Patient.objects.all()} == {"north": "of north", "south": "of south"}


def test_bulk_update_writes_each_rows_own_value(cmk_tsp: MemoryTsp) -> None:
    """The trap that cost four packages their users' data."""
    people(30)
    rows = list(Patient.objects.order_by("name"))
    for n, row in enumerate(rows):
        row.diagnosis, row.file_number = f"new{n}", None if n == 3 else n * 2
    with counted(cmk_tsp) as calls:
        Patient.objects.bulk_update(rows, ["diagnosis", "file_number", "name"])
    assert [(call.route, call.count) for call in calls] == [("batch_wrap", 30)]
    for n, row in enumerate(Patient.objects.order_by("name")):
        assert (row.diagnosis, row.born, row.file_number) == (f"new{n}", BORN, None if n == 3 else n * 2)


def test_update_seals_for_each_row(cmk_tsp: MemoryTsp) -> None:
    people(3)
    people(2, "south")
    with counted(cmk_tsp) as calls:
        assert Patient.objects.exclude(name="n00002").update(diagnosis="same", file_number=9) == 4
    assert sorted((call.about.tenant, call.count) for call in calls) == [("north", 2), ("south", 2)]
    rows = list(Patient.objects.filter(name__lt="n00002"))
    assert {(row.diagnosis, row.file_number, row.born) for row in rows} == {("same", 9, BORN)}
    assert len({stored_bytes(row, "diagnosis") for row in rows}) == 4
    assert Patient.objects.get(name="n00002").diagnosis == "d2"


def test_update_to_null_asks_nothing(cmk_tsp: MemoryTsp) -> None:
    people(2)
    with counted(cmk_tsp) as calls:
        assert Patient.objects.update(diagnosis=None) == 2
        assert Patient.objects.filter(name="nobody").update(diagnosis="x") == 0
    assert calls == []
    assert {row.diagnosis for row in Patient.objects.all()} == {None}


def test_update_takes_case_when_value_and_coalesce(cmk_tsp: MemoryTsp) -> None:
    people(3)
    Patient.objects.update(
        diagnosis=Case(
            When(name="n00000", then=Value("first")),
            When(Q(name="n00001") | Q(name="x"), then=Coalesce(F("diagnosis"), Value("none"))),
            default=Cast(Value("rest"), EncryptedField(models.TextField())),
        ),
        file_number=Coalesce(Value(None), Value(5)),
    )
    assert [row.diagnosis for row in Patient.objects.order_by("name")] == ["first", "d1", "rest"]
    assert {row.file_number for row in Patient.objects.all()} == {5}


@pytest.mark.parametrize(
    "expression",
    [
        F("name"),
        F("born"),
        Concat("name", Value("x")),
        Upper("diagnosis"),
        Upper(Value("x")),
        F("file_number") + 1,
        Case(When(name="x", then=F("name")), default=Value("y")),
        Subquery(Patient.objects.values("name")[:1]),
    ],
    ids=lambda expression: type(expression).__name__,
)
def test_refuses_what_the_database_would_compute(cmk_tsp: MemoryTsp, expression: Any) -> None:
    one = person()
    before = stored_bytes(one, "diagnosis")
    with pytest.raises(FieldError, match="encrypted"), atomic():
        Patient.objects.update(diagnosis=expression)
    one.diagnosis = expression
    with pytest.raises(FieldError, match="encrypted"), atomic():
        one.save()
    with pytest.raises(FieldError, match="encrypted"), atomic():
        Patient.objects.bulk_update([one], ["diagnosis"])
    with pytest.raises(FieldError, match="encrypted"), atomic():
        Patient(tenant_id="north", diagnosis=expression).save()
    assert stored_bytes(one, "diagnosis") == before


def test_refuses_ciphertext_in_a_plain_column(cmk_tsp: MemoryTsp) -> None:
    person()
    with pytest.raises(FieldError, match="is encrypted"), atomic():
        Patient.objects.update(name=F("diagnosis"))
    assert Patient.objects.get().name == "Ann"


def test_update_that_moves_rows_takes_all_their_fields_along(cmk_tsp: MemoryTsp) -> None:
    people(2)
    with pytest.raises(FieldError, match="leaves born, file_number sealed for the old one"), atomic():
        Patient.objects.update(tenant_id="south", diagnosis="x")
    Patient.objects.update(tenant_id="south", diagnosis="x", born=None, file_number=1)
    cmk_tsp.revoke("north")
    assert {(row.diagnosis, row.file_number) for row in Patient.objects.all()} == {("x", 1)}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: Patient.objects.update(tenant_id="south", name="x"),
        lambda one: Patient.objects.update(tenant_id=Concat("tenant_id", Value("x"))),
        lambda one: one.save(update_fields=["tenant_id", "name"]),
        lambda one: Patient.objects.bulk_update([one], ["tenant_id"]),
    ],
    ids=["update", "expression", "save", "bulk_update"],
)
def test_a_row_that_leaves_without_its_values_is_stopped(cmk_tsp: MemoryTsp, change: Any) -> None:
    """Not refused when it is read, as it would be then, but where it would happen."""
    (one,) = people(1)
    one.tenant_id = "south"
    with pytest.raises(FieldError, match="leaves diagnosis, born, file_number sealed for the old one"), atomic():
        change(one)
    assert Patient.objects.get(name="n00000").diagnosis == "d0"


def test_a_row_that_leaves_nothing_behind_may_go(cmk_tsp: MemoryTsp) -> None:
    (one,) = people(1)
    assert Patient.objects.update(tenant_id="north", name="x") == 1  # it does not go anywhere
    rest = Patient.objects.defer("diagnosis").get()
    rest.name = "y"
    rest.save()  # nor here, though the statement sets the tenant
    rest.tenant_id = "south"
    with pytest.raises(FieldError, match="leaves diagnosis sealed"), atomic():
        rest.save()
    one.tenant_id = "south"
    one.save()
    Patient.objects.update(diagnosis=None, born=None, file_number=None)
    assert Patient.objects.update(tenant_id="west") == 1
    empty = Patient.objects.get()
    empty.tenant_id = "east"
    empty.save(update_fields=["tenant_id"])


def test_bulk_update_takes_rows_to_their_new_tenants(cmk_tsp: MemoryTsp) -> None:
    rows = people(3)
    for row, name in zip(rows, ("south", "west", "north"), strict=True):
        row.tenant_id = name
    Patient.objects.bulk_update(rows, ["tenant_id", "diagnosis", "born", "file_number"])
    cmk_tsp.revoke("north")
    assert [row.diagnosis for row in Patient.objects.order_by("name")][:2] == ["d0", "d1"]
    assert not Patient.objects.get(name="n00002").diagnosis
    with pytest.raises(FieldError, match="by saving each row"), atomic():
        Patient.objects.update(tenant_id=F("name"), diagnosis="x", born=None, file_number=None)


def test_the_tenant_at_the_end_of_a_path_is_watched_where_the_path_begins(cmk_tsp: MemoryTsp) -> None:
    north, branch, south = (Clinic.objects.create(slug=name) for name in ("north", "north", "south"))
    visit = Visit.objects.create(clinic=north, report="fine")
    assert Visit.objects.update(clinic=branch) == 1  # another clinic of the same tenant
    assert Visit.objects.get().report == "fine"
    with pytest.raises(FieldError, match="another clinic but leaves report"), atomic():
        Visit.objects.update(clinic=south)
    visit.clinic = south
    with pytest.raises(FieldError, match="another clinic but leaves report"), atomic():
        visit.save(update_fields=["clinic"])
    visit.save()
    assert Visit.objects.get().report == "fine"


def test_upsert_by_the_bound_key_works_and_by_another_is_refused(cmk_tsp: MemoryTsp) -> None:
    one = person()
    again = Patient(pk=one.pk, tenant_id="north", diagnosis="cold")
    Patient.objects.bulk_create(
        [again],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["tenant_id", "diagnosis", "born", "file_number"],
    )
    assert Patient.objects.get().diagnosis == "cold"
    with pytest.raises(ValueError, match="cannot update tenant_id without born, file_number"), atomic():
        Patient.objects.bulk_create(
            [again], update_conflicts=True, unique_fields=["id"], update_fields=["diagnosis", "tenant_id"]
        )
    with pytest.raises(ValueError, match="Add 'tenant_id' to update_fields"), atomic():
        Patient.objects.bulk_create([again], update_conflicts=True, unique_fields=["id"], update_fields=["diagnosis"])
    with pytest.raises(ValueError, match="bound to the primary key"), atomic():
        Patient.objects.bulk_create(
            [again],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["tenant_id", "diagnosis", "born", "file_number"],
        )
    with tenant("north"):
        Note.objects.create(title="t", body="b")
        Note.objects.bulk_create(
            [Note(title="t", body="c")], update_conflicts=True, unique_fields=["title"], update_fields=["body"]
        )
        assert Note.objects.get().body == "c"
    Patient.objects.bulk_create([again], ignore_conflicts=True)
    assert Patient.objects.get().diagnosis == "cold"


def test_a_statement_of_many_rows_seals_each_value_under_its_rows_key_and_a_nonce_of_its_own(
    cmk_tsp: MemoryTsp,
) -> None:
    rows = people(200)
    found = [(envelope.parse(stored_bytes(row, name) or b"")) for row in rows for name in ("diagnosis", "born")]
    assert len({one.edek for one in found}) == 200
    assert len({one.sealed[:12] for one in found}) == 400
    assert [(row.diagnosis, row.born) for row in Patient.objects.order_by("name")] == [
        (f"d{n}", BORN) for n in range(200)
    ]


def test_a_statement_mixes_rows_with_and_without_values(cmk_tsp: MemoryTsp) -> None:
    """A key only for the rows that have something to seal; text and what is not text, expressions and NULL."""
    Patient.objects.bulk_create(
        [
            Patient(tenant_id="north", name="a", diagnosis="it's 100 % \\x00 'quoted'", file_number=0),
            Patient(tenant_id="north", name="b"),
            Patient(tenant_id="north", name="c", diagnosis=Value("v"), born=BORN),
            Patient(tenant_id="north", name="d", diagnosis=""),
        ]
    )
    assert [call.count for call in cmk_tsp.calls] == [3]
    assert [(row.diagnosis, row.born, row.file_number) for row in Patient.objects.order_by("name")] == [
        ("it's 100 % \\x00 'quoted'", None, 0),
        (None, None, None),
        ("v", BORN, None),
        ("", None, None),
    ]


def test_nothing_is_written_when_one_key_of_many_is_missing(cmk_tsp: MemoryTsp, monkeypatch: Any) -> None:
    given = MemoryTsp.batch_wrap

    def all_but_one(self: MemoryTsp, about: Any, count: int) -> list[Any]:
        return [*given(self, about, count)[:-1], KmsThrottled()]

    monkeypatch.setattr(MemoryTsp, "batch_wrap", all_but_one)
    with pytest.raises(KmsThrottled), atomic():
        people(3)
    assert not Patient.objects.exists()
