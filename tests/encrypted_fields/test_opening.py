"""Rows opened on purpose: all at once, with their relatives, and never inside an event loop."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.db.models import Prefetch

from encrypted_fields import Locked, aopen, decrypted
from encrypted_fields.core.errors import TspUnreachable
from encrypted_fields.fields.sealed import Sealed
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import BORN, people
from tests.sample_app.models import Clinic, Patient, Visit

pytestmark = pytest.mark.django_db


@pytest.fixture
def visits(cmk_tsp: MemoryTsp) -> list[Visit]:
    clinic = Clinic.objects.create(slug="north")
    return [Visit.objects.create(patient=one, clinic=clinic, report=f"r{one.name}") for one in people(5)]


def sealed(row: Any) -> list[str]:
    return [name for name, value in row.__dict__.items() if isinstance(value, Sealed)]


def test_the_rows_are_open_before_the_block(cmk_tsp: MemoryTsp) -> None:
    people(1200)
    with counted(cmk_tsp) as calls, decrypted(Patient.objects.order_by("name")) as rows:
        pass
    assert [call.count for call in calls] == [1000, 200]
    cmk_tsp.failing = TspUnreachable()
    assert [(row.diagnosis, row.born, row.file_number) for row in rows[:2]] == [("d0", BORN, 0), ("d1", BORN, 1)]
    assert not any(sealed(row) for row in rows)


@pytest.mark.parametrize(
    "query",
    [
        lambda: Patient.objects.prefetch_related("visits"),
        lambda: Patient.objects.prefetch_related(Prefetch("visits", to_attr="seen")),
        lambda: Visit.objects.select_related("patient"),
        lambda: Visit.objects.prefetch_related("patient"),
    ],
    ids=["many", "to_attr", "select", "one"],
)
def test_what_was_loaded_along_is_open_too(visits: list[Visit], cmk_tsp: MemoryTsp, query: Any) -> None:
    with decrypted(query()) as rows:
        cmk_tsp.failing = TspUnreachable()
        for row in rows:
            patient, visit = (row.patient, row) if isinstance(row, Visit) else (row, _visit(row))
            assert patient.diagnosis == f"d{patient.file_number}"
            assert visit.report == f"r{patient.name}"


def test_only_the_fields_that_are_named(visits: list[Visit], cmk_tsp: MemoryTsp) -> None:
    with decrypted(Patient.objects.prefetch_related("visits"), "born") as rows:
        assert sealed(rows[0]) == ["diagnosis", "file_number"]
        assert sealed(_visit(rows[0])) == ["report"]
    (row,) = Patient.objects.defer("born")[:1]
    with decrypted([row]):
        assert "born" not in row.__dict__
    with decrypted(Patient.objects.values("diagnosis")) as dicts:
        assert {"diagnosis": "d0"} in dicts


def test_withdrawn_rows_are_locked_and_an_outage_raises(visits: list[Visit], cmk_tsp: MemoryTsp) -> None:
    cmk_tsp.revoke("north")
    with decrypted(Patient.objects.all()) as rows:
        assert all(isinstance(row.diagnosis, Locked) for row in rows)
    cmk_tsp.failing = TspUnreachable()
    with pytest.raises(TspUnreachable), decrypted(Patient.objects.all()):
        pass


@pytest.mark.django_db(transaction=True)
async def test_a_look_inside_the_event_loop_is_refused_not_slow(cmk_tsp: MemoryTsp) -> None:
    """As the ORM refuses a query there: a call to the proxy would stop everybody who shares the loop."""
    await sync_to_async(people)(1001)
    async for row in Patient.objects.all():
        with pytest.raises(SynchronousOnlyOperation, match="async with decrypted"):
            row.diagnosis  # noqa: B018
        break
    assert cmk_tsp.calls[-1].route == "batch_wrap"
    with counted(cmk_tsp) as calls:
        found = [row.diagnosis async for row in decrypted(Patient.objects.order_by("name"))]
        assert found == [f"d{n}" for n in range(1001)]
    assert [call.count for call in calls] == [1000, 1]
    async with decrypted(Patient.objects.order_by("name")[:2]) as rows:
        assert [row.diagnosis for row in rows] == ["d0", "d1"]
    assert [row.diagnosis async for row in decrypted(list(rows))] == ["d0", "d1"]
    assert (await aopen(await Patient.objects.aget(name="n00007"))).diagnosis == "d7"
    await Patient.objects.acreate(tenant_id="north", diagnosis="x")
    await sync_to_async(lambda: connection.close())()  # the one of the thread that worked for us


def _visit(patient: Any) -> Visit:
    found = patient.seen if "seen" in patient.__dict__ else patient.visits.all()
    return next(iter(found))
