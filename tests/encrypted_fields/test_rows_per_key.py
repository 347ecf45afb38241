"""`reuse_keys(rows_per_key=…)`: one new key for several new rows, each use told, never beyond what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db.transaction import atomic

from encrypted_fields import Locked, acting, key_ring, reuse_keys
from encrypted_fields.core.errors import CmkError, KmsRefused, TspUnreachable
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import edek, people, person
from tests.sample_app.models import Patient

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_is_owed() -> Iterator[None]:
    yield
    key_ring._owed.clear()


def told(calls: Any) -> list[tuple[str, int]]:
    return [(call.route, call.count) for call in calls]


def keys(rows: Any = None) -> set[bytes]:
    return {edek(row, "diagnosis") for row in (Patient.objects.all() if rows is None else rows)}


def test_many_rows_share_few_keys_and_each_row_is_told(cmk_tsp: MemoryTsp) -> None:
    with counted(cmk_tsp) as calls, reuse_keys(seconds=30, uses=1, rows_per_key=10):
        people(25)
    assert told(calls) == [("batch_wrap", 3), ("report_operations", 22)]  # 25 rows, 3 of them the proxy saw itself
    assert len(keys()) == 3
    with counted(cmk_tsp) as calls:
        assert [row.diagnosis for row in Patient.objects.order_by("name")] == [f"d{n}" for n in range(25)]
    assert told(calls) == [("batch_unwrap", 3)]


def test_rows_that_are_saved_one_by_one_go_on_with_the_key(cmk_tsp: MemoryTsp) -> None:
    with acting("importer"), counted(cmk_tsp) as calls, reuse_keys(seconds=30, uses=1, rows_per_key=3):
        for number in range(4):
            person(name=str(number))
        people(4)
    assert told(calls) == [("wrap", 1), ("wrap", 1), ("wrap", 1), ("report_operations", 5)]
    assert calls[-1].about.requesting_id == "importer"
    assert len(keys()) == 3


def test_without_it_each_row_has_its_own(cmk_tsp: MemoryTsp) -> None:
    with reuse_keys(seconds=30, uses=10):
        people(5)
        person()
    assert len(keys()) == 6


def test_never_for_another_tenant_or_another_person(cmk_tsp: MemoryTsp) -> None:
    with reuse_keys(seconds=30, uses=1, rows_per_key=100):
        rows = [person(), person(tenant_id="south")]
        with acting("somebody"):
            rows.append(person())
        again = [person(), person(tenant_id="south")]
    assert len(keys(rows)) == 3
    assert keys(again) == keys(rows[:2])


def test_the_key_ends_with_its_seconds(cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(key_ring, "_now", lambda: now[0])
    with counted(cmk_tsp) as calls, reuse_keys(seconds=5, uses=1, rows_per_key=100):
        person()
        now[0] += 4.9
        person()
        now[0] += 0.2
        person()
        now[0] += 4.9
        person()  # by now the first use is due
    assert told(calls) == [("wrap", 1), ("wrap", 1), ("report_operations", 1), ("report_operations", 1)]


def test_a_refusal_ends_it(cmk_tsp: MemoryTsp) -> None:
    with reuse_keys(seconds=30, uses=1, rows_per_key=100) as ring:
        person()
        cmk_tsp.revoke("north")
        person()  # not heard yet
        assert isinstance(Patient.objects.all()[0].diagnosis, Locked)  # now it is
        with pytest.raises(KmsRefused), atomic():
            person()
        assert not any(ring._slots._pages[0].view())


def test_nothing_is_written_and_nothing_told_when_one_key_is_missing(cmk_tsp: MemoryTsp) -> None:
    with counted(cmk_tsp) as calls, reuse_keys(seconds=30, uses=1, rows_per_key=3):
        person()
        cmk_tsp.failing = TspUnreachable()
        with pytest.raises(CmkError), atomic():
            people(5)
        cmk_tsp.failing = None
    assert Patient.objects.count() == 1
    assert told(calls) == [("wrap", 1), ("wrap", 1)]  # the second failed; no use is reported


def test_the_keys_are_wiped_at_the_end(cmk_tsp: MemoryTsp) -> None:
    with reuse_keys(seconds=30, uses=1, rows_per_key=3) as ring:
        person()
        (page,) = ring._slots._pages
        assert any(page.view())
    assert not any(page._map[:])


@pytest.mark.parametrize("rows", [0, 1001])
def test_bounds_are_bounded(rows: int) -> None:
    with pytest.raises(ValueError, match="rows"):
        reuse_keys(seconds=1, uses=1, rows_per_key=rows)
