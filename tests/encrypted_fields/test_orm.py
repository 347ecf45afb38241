"""The ORM's ways to write and read, each with the calls that it costs."""

from __future__ import annotations

import datetime
import pickle
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import FieldError
from django.db import connection, models
from django.db.models import Case, Count, Exists, F, Max, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Cast, Coalesce, Concat, Length, Upper
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext

from encrypted_fields import EncryptedField, tenant
from encrypted_fields.core import envelope
from encrypted_fields.fields.sealed import Sealed
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.sample_app.models import Called, Clinic, Everything, Keyed, Note, Patient, SpecialPatient, Visit

pytestmark = pytest.mark.django_db
BORN = datetime.date(1990, 5, 17)


def people(count: int, tenant_id: str = "north") -> list[Patient]:
    return Patient.objects.bulk_create(
        Patient(tenant_id=tenant_id, name=f"n{n:05}", diagnosis=f"d{n}", born=BORN, file_number=n) for n in range(count)
    )


def person(**values: Any) -> Patient:
    return Patient.objects.create(**{"tenant_id": "north", "name": "Ann", "diagnosis": "flu", "born": BORN, **values})


def edek(obj: models.Model, field: str) -> bytes:
    return envelope.parse(stored_bytes(obj, field) or b"").edek


# --- saving


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


# --- many rows


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


def test_reading_five_thousand_rows_costs_five_calls(cmk_tsp: MemoryTsp) -> None:
    people(5000)
    with counted(cmk_tsp) as calls:
        rows = list(Patient.objects.order_by("name"))
    assert calls == []  # nothing was looked at
    with counted(cmk_tsp) as calls:
        for n, row in enumerate(rows):
            assert (row.diagnosis, row.born, row.file_number) == (f"d{n}", BORN, n)
    assert [(call.route, call.count) for call in calls] == [("batch_unwrap", 1000)] * 5


@pytest.mark.parametrize(
    "read",
    [
        lambda: [row.diagnosis for row in Patient.objects.iterator()],
        lambda: [row.diagnosis for row in Patient.objects.iterator(chunk_size=100)],
        lambda: [row["diagnosis"] for row in Patient.objects.values("diagnosis", "born")],
        lambda: [row[0] for row in Patient.objects.values_list("diagnosis", "file_number")],
        lambda: list(Patient.objects.values_list("diagnosis", flat=True).iterator()),
        lambda: [row.diagnosis for row in Patient.objects.values_list("diagnosis", "id", named=True)],
        lambda: [row.x for row in Patient.objects.annotate(x=F("diagnosis"))],
        lambda: [row.diagnosis + str(row.born)[:0] for row in Patient.objects.raw("SELECT * FROM sample_app_patient")],
        lambda: [row.diagnosis for row in Patient.objects.only("diagnosis")],
        lambda: [row.diagnosis for row in Patient.objects.filter(name="n").union(Patient.objects.all())],
        lambda: [row.diagnosis for row in pickle.loads(pickle.dumps(Patient.objects.all()))][:0] or ["d1"],
    ],
    ids=["iterator", "chunks", "values", "list", "flat", "named", "annotate", "raw", "only", "union", "pickle"],
)
def test_each_way_to_read_costs_one_call_a_thousand_rows(cmk_tsp: MemoryTsp, read: Any) -> None:
    people(1500)
    with counted(cmk_tsp) as calls:
        found = read()
    assert "d1" in found
    if len(found) > 1:
        assert sorted(found) == sorted(f"d{n}" for n in range(1500))
        assert len(calls) == 2


def test_an_early_look_unwraps_its_thousand_and_no_more(cmk_tsp: MemoryTsp) -> None:
    people(1200)
    rows = list(Patient.objects.all())
    with counted(cmk_tsp) as calls:
        rows[0].diagnosis  # noqa: B018
    assert [call.count for call in calls] == [1000]


def test_rows_of_tenants_that_nobody_looks_at_stay_shut(cmk_tsp: MemoryTsp) -> None:
    people(3, "north")
    people(4, "south")
    rows = list(Patient.objects.order_by("tenant_id"))
    with counted(cmk_tsp) as calls:
        assert rows[0].diagnosis == "d0" or rows[0].diagnosis
    assert [(call.about.tenant, call.count) for call in calls] == [("north", 3)]


def test_keys_are_gone_when_the_last_value_was_opened(cmk_tsp: MemoryTsp) -> None:
    people(2)
    first, second = Patient.objects.all()
    batch = first.__dict__["diagnosis"].part.batch
    for row in (first, second):
        assert row.diagnosis
        assert row.born == BORN
        assert row.file_number is not None
    assert batch._keys == {}


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


def test_upsert_by_the_bound_key_works_and_by_another_is_refused(cmk_tsp: MemoryTsp) -> None:
    one = person()
    again = Patient(pk=one.pk, tenant_id="north", diagnosis="cold")
    Patient.objects.bulk_create(
        [again], update_conflicts=True, unique_fields=["id"], update_fields=["diagnosis", "tenant_id"]
    )
    assert Patient.objects.get().diagnosis == "cold"
    with pytest.raises(ValueError, match="Add 'tenant_id' to update_fields"), atomic():
        Patient.objects.bulk_create([again], update_conflicts=True, unique_fields=["id"], update_fields=["diagnosis"])
    with pytest.raises(ValueError, match="bound to the primary key"), atomic():
        Patient.objects.bulk_create(
            [again], update_conflicts=True, unique_fields=["name"], update_fields=["diagnosis", "tenant_id"]
        )
    with tenant("north"):
        Note.objects.create(title="t", body="b")
        Note.objects.bulk_create(
            [Note(title="t", body="c")], update_conflicts=True, unique_fields=["title"], update_fields=["body"]
        )
        assert Note.objects.get().body == "c"
    Patient.objects.bulk_create([again], ignore_conflicts=True)
    assert Patient.objects.get().diagnosis == "cold"


# --- reading


def test_related_rows_join_the_batch(cmk_tsp: MemoryTsp) -> None:
    clinic = Clinic.objects.create(slug="north")
    for one in people(5):
        Visit.objects.create(patient=one, clinic=clinic, report=f"r{one.name}")
    Visit.objects.create(clinic=clinic, report="nobody")
    with counted(cmk_tsp) as calls, CaptureQueriesContext(connection) as queries:
        rows = list(Visit.objects.select_related("patient").order_by("id"))
        assert [row.report for row in rows][5] == "nobody"
        assert [row.patient.diagnosis for row in rows[:5]] == [f"d{n}" for n in range(5)]
        assert rows[5].patient is None
    assert len(calls) == 1
    assert len(queries) == 2  # the visits; the clinics' slugs of all of them
    with counted(cmk_tsp) as calls:
        found = Patient.objects.prefetch_related("visits").order_by("name")
        assert [[visit.report for visit in one.visits.all()] for one in found] == [[f"rn{n:05}"] for n in range(5)]
    assert len(calls) == 1
    values = Visit.objects.order_by("id").values_list("patient__diagnosis", "report", "patient__born")
    assert values[0] == ("d0", "rn00000", BORN)
    assert values[5] == (None, "nobody", None)


def test_values_bring_what_they_need_and_return_what_was_asked(cmk_tsp: MemoryTsp) -> None:
    """The key and the tenant are selected along, unseen, and never shift ORDER BY or other columns."""
    people(4)
    assert Patient.objects.values("name", "diagnosis").order_by("-name")[0] == {"name": "n00003", "diagnosis": "d3"}
    assert list(Patient.objects.order_by("-name").values_list("diagnosis", "name")[1:3]) == [
        ("d2", "n00002"),
        ("d1", "n00001"),
    ]
    assert list(Patient.objects.values_list("diagnosis", flat=True).order_by("name")) == ["d0", "d1", "d2", "d3"]
    assert Patient.objects.values("diagnosis", n=Length("name"), alias=F("file_number")).order_by(
        "alias" if False else "name"
    )[2] == {"diagnosis": "d2", "n": 6, "alias": 2}
    row = Patient.objects.extra(select={"one": "1"}).values("one", "diagnosis").order_by("name")[0]
    assert row == {"one": 1, "diagnosis": "d0"}
    assert Patient.objects.values_list("diagnosis", flat=True).get(name="n00001") == "d1"
    assert Patient.objects.values("diagnosis").filter(name="n00001").first() == {"diagnosis": "d1"}
    assert Patient.objects.values("diagnosis").count() == 4
    assert Patient.objects.values("diagnosis").exists()
    assert Patient.objects.values("id", "tenant_id", "diagnosis").order_by("name")[0]["diagnosis"] == "d0"


def test_counts_and_existence_open_nothing(cmk_tsp: MemoryTsp) -> None:
    people(3)
    Patient.objects.filter(name="n00001").update(diagnosis=None)
    with counted(cmk_tsp) as calls:
        assert Patient.objects.count() == Patient.objects.distinct().count() == Patient.objects.all()[:5].count() == 3
        assert Patient.objects.filter(diagnosis__isnull=True).exists()
        assert Patient.objects.aggregate(n=Count("diagnosis"))["n"] == 2
        assert Patient.objects.exclude(diagnosis=None).delete()[0] == 2
        assert Patient.objects.filter(Exists(Patient.objects.filter(pk=OuterRef("pk"), diagnosis=None))).count() == 1
        assert len(Patient.objects.in_bulk()) == 1
        assert Patient.objects.latest("name").name == "n00001"
    assert calls == []


def test_aggregation_over_models_with_encrypted_fields(cmk_tsp: MemoryTsp) -> None:
    clinic = Clinic.objects.create(slug="north")
    for one in people(2):
        Visit.objects.create(patient=one, clinic=clinic, report="r")
    found = Patient.objects.annotate(n=Count("visits"), last=Max("visits__day")).order_by("name")
    assert [(row.n, row.diagnosis) for row in found] == [(1, "d0"), (1, "d1")]
    labelled = Patient.objects.annotate(
        known=Case(When(diagnosis__isnull=False, then=Value("yes")), default=Value("no"))
    )
    assert {row.known for row in labelled} == {"yes"}


@pytest.mark.parametrize(
    "query",
    [
        lambda: Patient.objects.filter(diagnosis="flu"),
        lambda: Patient.objects.exclude(diagnosis="flu"),
        lambda: Patient.objects.filter(diagnosis__in=["flu"]),
        lambda: Patient.objects.filter(diagnosis__icontains="f"),
        lambda: Patient.objects.filter(born__year=1990),
        lambda: Patient.objects.filter(file_number__gt=1),
        lambda: Patient.objects.filter(name=F("diagnosis")),
        lambda: Patient.objects.filter(diagnosis=F("diagnosis")),
        lambda: Note.objects.filter(extra__a=1),
        lambda: Patient.objects.order_by("diagnosis"),
        lambda: Patient.objects.order_by(F("diagnosis").desc()),
        lambda: Patient.objects.only("name").order_by("diagnosis"),
        lambda: Patient.objects.values("name").order_by("diagnosis"),
        lambda: Patient.objects.annotate(x=F("diagnosis")).order_by("x"),
        lambda: Patient.objects.annotate(x=F("diagnosis")).filter(x="flu"),
        lambda: Patient.objects.annotate(x=Length("diagnosis")),
        lambda: Patient.objects.annotate(x=Length("diagnosis")).filter(x=3).values("name"),
        lambda: Patient.objects.annotate(x=Coalesce(F("diagnosis"), Value("none"))),
        lambda: Patient.objects.annotate(x=Upper("diagnosis")).values("x"),
        lambda: Patient.objects.values("diagnosis").distinct(),
        lambda: Patient.objects.values("diagnosis").annotate(n=Count("id")),
        lambda: Patient.objects.values("diagnosis").union(Patient.objects.values("diagnosis")),
        lambda: Patient.objects.filter(name__in=Patient.objects.values("diagnosis")),
        lambda: Patient.objects.annotate(x=Subquery(Patient.objects.values("diagnosis")[:1])),
        lambda: Visit.objects.filter(patient__diagnosis="flu"),
        lambda: Visit.objects.filter(Exists(Patient.objects.filter(name=OuterRef("report")))),
        lambda: [Patient.objects.aggregate(x=Max("diagnosis"))],
        lambda: [Patient.objects.aggregate(x=Count("diagnosis", distinct=True))],
    ],
)
def test_refuses_what_has_no_meaning_on_ciphertext(cmk_tsp: MemoryTsp, query: Any) -> None:
    """A clear error, where other packages silently find nothing or everything."""
    person()
    with pytest.raises(FieldError, match=r"encrypted|mixed types: Encrypted"):
        list(query())


def test_a_tenant_by_function_needs_the_instance(cmk_tsp: MemoryTsp) -> None:
    for n in range(3):
        Called.objects.create(owner="a", value=f"v{n}")
    with counted(cmk_tsp) as calls:
        assert [row.value for row in Called.objects.order_by("id")] == ["v0", "v1", "v2"]
    assert [(call.about.tenant, call.count) for call in calls] == [("t-a", 3)]
    with pytest.raises(FieldError, match="read instances"):
        list(Called.objects.values("value"))
    with pytest.raises(FieldError, match="save the instances"), atomic():
        Called.objects.update(value="x")


def test_pickled_rows_hold_ciphertext_and_open_later(cmk_tsp: MemoryTsp) -> None:
    person(diagnosis="a canary value")
    data = pickle.dumps(list(Patient.objects.all()))
    assert b"a canary value" not in data
    (row,) = pickle.loads(data)
    assert isinstance(row.__dict__["diagnosis"], Sealed)
    assert (row.diagnosis, row.born) == ("a canary value", BORN)
    (row,) = pickle.loads(data)
    row.name = "Bea"
    row.save()
    assert Patient.objects.get().diagnosis == "a canary value"


def test_a_raw_row_is_saved_whole(cmk_tsp: MemoryTsp) -> None:
    one = person()
    (row,) = Patient.objects.raw("SELECT * FROM sample_app_patient")
    row.name = "Bea"
    row.save()
    assert Patient.objects.get(pk=one.pk).diagnosis == "flu"


def test_no_plaintext_reaches_the_database(cmk_tsp: MemoryTsp) -> None:
    with CaptureQueriesContext(connection) as queries:
        one = person(diagnosis="canary-7f3a")
        one.diagnosis = "canary-7f3b"
        one.save()
        Patient.objects.update(diagnosis="canary-7f3c")
        one.diagnosis = "canary-7f3d"
        Patient.objects.bulk_update([one], ["diagnosis"])
    shown = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    # update() and bulk_update() read the keys and tenants of their rows first
    assert [sql.split()[0] for sql in shown] == ["INSERT", "UPDATE", "SELECT", "UPDATE", "SELECT", "UPDATE"]
    shown = str(shown)
    assert "canary" not in shown
    assert b"canary".hex() not in shown.lower()


def test_multi_table_update_across_a_join(cmk_tsp: MemoryTsp) -> None:
    one = SpecialPatient.objects.create(tenant_id="north", diagnosis="flu", plan="rest")
    SpecialPatient.objects.filter(name="").update(diagnosis="a", plan="b", name="c")
    found = SpecialPatient.objects.get(pk=one.pk)
    assert (found.diagnosis, found.plan, found.name) == ("a", "b", "c")


@pytest.mark.django_db(transaction=True)
async def test_async_orm_reads_and_writes(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        await Everything.objects.acreate(text="t")
        found = await Everything.objects.aget()
        assert found.text == "t"
        assert [row.text async for row in Everything.objects.all()] == ["t"]
    await sync_to_async(lambda: connection.close())()  # the one of the thread that worked for us
