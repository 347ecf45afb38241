"""Every way to read, with the calls that it costs, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import FieldError
from django.db import connection
from django.db.models import Case, Count, Exists, F, Max, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce, Length, Upper
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext

from encrypted_fields import aopen, decrypted, tenant
from encrypted_fields.fields.sealed import Sealed
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import BORN, people, person
from tests.sample_app.models import Called, Clinic, Everything, Note, Patient, SpecialPatient, Visit

pytestmark = pytest.mark.django_db


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
    columns = first.__dict__["diagnosis"].part.columns.values()
    for row in (first, second):
        assert row.diagnosis
        assert row.born == BORN
        assert row.file_number is not None
    assert [column.keys for column in columns] == [[None, None]] * 3


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
        found = await aopen(await Everything.objects.aget())
        assert found.text == "t"
        assert [row.text async for row in decrypted(Everything.objects.all())] == ["t"]
    await sync_to_async(lambda: connection.close())()  # the one of the thread that worked for us
