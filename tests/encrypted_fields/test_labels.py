"""Labels: what the customer's trail and the policy see; a label of its own has a key of its own."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.test import override_settings

from encrypted_fields import AccessRefused, EncryptedField, decrypted, reuse_keys, sealed_rows
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import edek, people
from tests.sample_app.models import Chart, Clinic, Patient, Visit

pytestmark = pytest.mark.django_db
BORN = datetime.date(1990, 5, 17)
ENCRYPTED = ("name", "phone", "diagnosis", "weight", "born")


def chart(**values: Any) -> Chart:
    given = {"tenant_id": "north", "name": "Ann", "phone": "1", "diagnosis": "flu", "weight": 70, "born": BORN}
    return Chart.objects.create(**{**given, **values})


def labels(calls: Any) -> list[str | None]:
    return sorted(call.about.data_label for call in calls)


THREE = ["contact", "health", "sample_app.chart"]


@pytest.mark.parametrize(
    "write",
    [
        lambda: chart().pk,
        lambda: Chart.objects.bulk_create([Chart(tenant_id="north", name="a", diagnosis="b", weight=1, phone="c")]),
        lambda: Chart.objects.update(name="a", diagnosis="b", weight=1, phone="c", born=BORN),
        lambda: sealed_rows([Chart(tenant_id="north", name="a", diagnosis="b", weight=1, phone="c")]),
    ],
    ids=["save", "bulk_create", "update", "by hand"],
)
def test_each_label_is_sealed_under_a_key_of_its_own(cmk_tsp: MemoryTsp, write: Any) -> None:
    one = chart()
    with counted(cmk_tsp) as calls:
        write()
    assert labels(calls) == THREE
    keys = {name: edek(one, name) for name in ENCRYPTED}
    assert keys["name"] == keys["phone"]
    assert keys["weight"] == keys["born"]
    assert len(set(keys.values())) == 3


def test_a_look_asks_for_its_label_and_no_other(cmk_tsp: MemoryTsp) -> None:
    for _ in range(3):
        chart()
    rows = list(Chart.objects.all())
    for name, label in (("name", "contact"), ("diagnosis", "health"), ("born", "sample_app.chart")):
        with counted(cmk_tsp) as calls:
            found = [getattr(row, name) for row in rows]
        assert len(set(found)) == 1
        assert [(call.about.data_label, call.count) for call in calls] == [(label, 3)]
    with counted(cmk_tsp) as calls:
        assert [(row.phone, row.weight) for row in rows] == [("1", 70)] * 3
    assert calls == []  # opened with those of their label
    with counted(cmk_tsp) as calls:
        assert len(list(Chart.objects.values("name", "diagnosis", "born"))) == 3
    assert labels(calls) == THREE


@override_settings(CMK_POLICY_TABLE=[{"refuse": "no health here", "label": "health", "action": "decrypt"}])
def test_one_label_can_be_refused_and_the_row_saved(cmk_tsp: MemoryTsp) -> None:
    chart()
    row = Chart.objects.get()
    assert (row.name, row.phone, row.weight) == ("Ann", "1", 70)
    with pytest.raises(AccessRefused, match="no health here"):
        row.diagnosis  # noqa: B018
    row.name = "Bea"
    row.save()
    with override_settings(CMK_POLICY_TABLE=[]):
        found = Chart.objects.get()
        assert (found.name, found.diagnosis) == ("Bea", "flu")


def test_values_from_before_the_label_open_under_it(cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a key with others of the row, and are still asked for by their own label."""
    people(1)
    field = Patient._meta.get_field("diagnosis")
    monkeypatch.setattr(field, "label", "health")
    field.__dict__.pop("binding", None)
    try:
        row = Patient.objects.get()
        with counted(cmk_tsp) as calls:
            assert row.born
        assert labels(calls) == ["sample_app.patient"]
        with counted(cmk_tsp) as calls:
            assert row.diagnosis == "d0"
        assert labels(calls) == ["health"]
    finally:
        field.__dict__.pop("binding", None)


@pytest.fixture
def ward(cmk_tsp: MemoryTsp) -> None:
    clinic = Clinic.objects.create(slug="north")
    for number, one in enumerate(people(6)):
        if number >= 2:  # the first two have none
            Visit.objects.create(patient=one, clinic=clinic, report=f"r{one.name}")


QUERIES = {
    "many": lambda: [(p, list(p.visits.all())) for p in Patient.objects.order_by("name").prefetch_related("visits")],
    "one": lambda: [(v.patient, [v]) for v in Visit.objects.prefetch_related("patient")],
    "select": lambda: [(v.patient, [v]) for v in Visit.objects.select_related("patient")],
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("first", ["patient", "visit"])
def test_rows_that_were_loaded_along_join_the_call(ward: None, cmk_tsp: MemoryTsp, query: Any, first: str) -> None:
    """Whichever is looked at first, and also when that row has no relatives itself. Both labels are in the trail."""
    pairs = query()
    with counted(cmk_tsp) as calls:
        for patient, visits in pairs:
            if first == "patient":
                assert patient.diagnosis == f"d{patient.file_number}"
            for visit in visits:
                assert visit.report == f"r{patient.name}"
                assert patient.born
    assert len(calls) == 1
    assert {*calls[0].about.custom["labels"].split(",")} == {"sample_app.patient", "sample_app.visit"}


def test_the_policy_of_a_label_holds_for_rows_that_would_join(ward: None, cmk_tsp: MemoryTsp) -> None:
    with override_settings(CMK_POLICY_TABLE=[{"refuse": "reports", "label": "sample_app.visit", "action": "decrypt"}]):
        rows = list(Visit.objects.select_related("patient"))
        with counted(cmk_tsp) as calls:
            assert all(row.patient is not None and row.patient.diagnosis for row in rows)
        assert [(call.route, call.count) for call in calls] == [("batch_unwrap", 4)]
        with pytest.raises(AccessRefused, match="reports"):
            rows[0].report  # noqa: B018


def test_decrypted_asks_once_for_all_of_a_page(ward: None, cmk_tsp: MemoryTsp) -> None:
    with counted(cmk_tsp) as calls, decrypted(Patient.objects.prefetch_related("visits")):
        pass
    assert [call.count for call in calls] == [10]
    with counted(cmk_tsp) as calls, reuse_keys(seconds=5, uses=5):
        for _ in range(2):
            with decrypted(Patient.objects.prefetch_related("visits")):
                pass
    assert [(call.route, call.count) for call in calls] == [("batch_unwrap", 10), ("report_operations", 10)]


def test_options_survive_a_clone_and_are_no_part_of_the_column() -> None:
    field = Chart._meta.get_field("phone")
    twin: Any = field.clone()
    assert (twin.label, twin.on_locked) == ("contact", "omit")
    assert {"label", "on_locked"} <= set(EncryptedField.non_db_attrs)
    assert "on_locked" not in Chart._meta.get_field("name").deconstruct()[3]
    with pytest.raises(ValueError, match="on_locked is one of sentinel, raise, omit"):
        EncryptedField(field.inner, on_locked="hide")  # type: ignore[arg-type]
