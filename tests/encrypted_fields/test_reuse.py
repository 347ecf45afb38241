"""Keys kept on request: bounded, reported, wiped, never across tenants, and dropped by a refusal."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.db.transaction import atomic
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings

from encrypted_fields import AccessRefused, Locked, acting, key_ring, reuse_keys
from encrypted_fields.core.errors import KmsRefused, TspUnreachable
from encrypted_fields.keys import open_keys
from encrypted_fields.middleware import CmkMiddleware
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import edek, people, person
from tests.sample_app.models import Patient

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_is_owed() -> Iterator[None]:
    yield
    key_ring._owed.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Seconds that the test lets pass."""
    now = [1000.0]
    monkeypatch.setattr(key_ring, "_now", lambda: now[0])

    def later(seconds: float) -> None:
        now[0] += seconds

    return later


def look() -> list[Any]:
    return [row.diagnosis for row in Patient.objects.order_by("name")]


def test_a_kept_key_opens_again_without_a_call_and_each_use_is_reported(cmk_tsp: MemoryTsp) -> None:
    people(3)
    with acting("user-7", request_id="r1"), counted(cmk_tsp) as calls, reuse_keys(seconds=30, uses=10):
        assert look() == look() == look() == ["d0", "d1", "d2"]
    assert [(call.route, call.count) for call in calls] == [("batch_unwrap", 3), ("report_operations", 6)]
    told = calls[1].about
    assert (told.tenant, told.requesting_id, told.request_id) == ("north", "user-7", "r1")
    assert told.data_label == "sample_app.patient"
    with counted(cmk_tsp) as calls:
        look()
    assert [call.route for call in calls] == ["batch_unwrap"]  # outside nothing is kept


def test_people_are_reported_apart(cmk_tsp: MemoryTsp) -> None:
    person()
    with counted(cmk_tsp) as calls, reuse_keys(seconds=30, uses=10):
        look()
        for who in ("a", "b", "b"):
            with acting(who):
                look()
    assert [(call.about.requesting_id, call.count) for call in calls[1:]] == [("a", 1), ("b", 2)]


def test_uses_end(cmk_tsp: MemoryTsp) -> None:
    person()
    with counted(cmk_tsp) as calls, reuse_keys(seconds=30, uses=2):
        for _ in range(4):
            look()
    assert [(call.route, call.count) for call in calls] == [
        ("unwrap", 1),
        ("unwrap", 1),  # the fourth look
        ("report_operations", 2),
    ]


def test_seconds_end_and_the_uses_of_a_long_block_are_told_in_time(cmk_tsp: MemoryTsp, clock: Any) -> None:
    person()
    with counted(cmk_tsp) as calls, reuse_keys(seconds=5, uses=1000):
        look()
        clock(4.9)
        look()
        clock(0.2)
        look()  # too old
        clock(4.9)
        look()
    assert [(call.route, call.count) for call in calls] == [
        ("unwrap", 1),
        ("unwrap", 1),
        ("report_operations", 1),
        ("report_operations", 1),
    ]


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    assert key_ring._clock == time.CLOCK_BOOTTIME


def test_keys_are_wiped_at_the_end_whatever_happens(cmk_tsp: MemoryTsp) -> None:
    """In a page of core.memory: all zero afterwards, also after an error and an outage."""
    people(200)
    pages: list[Any] = []

    def work() -> None:
        with reuse_keys(seconds=30, uses=10) as ring:
            look()
            look()
            pages.extend(ring._slots._pages)
            assert any(pages[0].view())
            cmk_tsp.failing = TspUnreachable()
            person()

    with pytest.raises(TspUnreachable):
        work()
    assert len(pages) == 2  # 127 keys in each
    assert all(page.wiped for page in pages)
    assert not any(any(page._map[:]) for page in pages)


def test_a_slot_is_zeroed_before_it_is_given_again(cmk_tsp: MemoryTsp) -> None:
    person()
    with reuse_keys(seconds=30, uses=1) as ring:
        look()
        look()
        assert not any(ring._slots._pages[0].view())


def test_never_across_tenants(cmk_tsp: MemoryTsp) -> None:
    """The very same wrapped key, asked for by another tenant, goes to the proxy, which refuses it."""
    one = person()
    with reuse_keys(seconds=30, uses=10):
        look()
        with counted(cmk_tsp) as calls:
            found = dict(open_keys("south", [edek(one, "diagnosis")], label="x"))
        assert [(call.route, call.about.tenant) for call in calls] == [("unwrap", "south")]
        assert isinstance(found[edek(one, "diagnosis")], Exception)


def test_a_refusal_drops_the_tenants_keys_everywhere(cmk_tsp: MemoryTsp) -> None:
    people(2)
    person(tenant_id="south", name="z")
    with reuse_keys(seconds=30, uses=10) as outer:
        look()
        with reuse_keys(seconds=30, uses=10) as inner:
            look()
            cmk_tsp.revoke("north")
            Patient.objects.create(tenant_id="south")
            fresh = Patient.objects.filter(tenant_id="north")[0]
            assert fresh.diagnosis == "d0"  # not heard yet
            with pytest.raises(KmsRefused), atomic():
                person()  # sealing is asked for always, and heard
            assert not [name for ring in (outer, inner) for name in ring._kept if name[0] == "north"]
            assert [isinstance(value, Locked) for value in look()] == [False, True, True, False]


def test_a_partial_refusal_asks_for_the_kept_ones_again(cmk_tsp: MemoryTsp) -> None:
    people(2)
    with reuse_keys(seconds=30, uses=10) as ring:
        look()
        person(name="z")
        cmk_tsp.revoke("north")
        assert all(isinstance(value, Locked) for value in look())
        assert ring._kept == {}


def test_nothing_is_reused_while_a_report_is_owed(cmk_tsp: MemoryTsp, caplog: pytest.LogCaptureFixture) -> None:
    person()
    with reuse_keys(seconds=30, uses=10), caplog.at_level(logging.ERROR):
        look()
        look()
        cmk_tsp.failing = TspUnreachable()
    assert "uses of 1 kept keys of tenant north are not reported yet" in caplog.text
    with reuse_keys(seconds=30, uses=10):
        with pytest.raises(TspUnreachable):
            look()
        cmk_tsp.failing = None
        with counted(cmk_tsp) as calls:
            look()
            look()
    assert [(call.route, call.count) for call in calls] == [("report_operations", 1), ("unwrap", 1)]
    assert cmk_tsp.calls[-1].route == "report_operations"  # of the second block
    assert key_ring._owed == []


def test_a_report_that_fails_in_the_middle_of_a_block_stops_the_reuse_there(
    cmk_tsp: MemoryTsp, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(name="a")
    with reuse_keys(seconds=5, uses=10):
        look()
        look()
        clock(4)
        person(name="b")
        look()
        clock(1.5)  # the key of "b" is still good, the report of "a" is due
        with monkeypatch.context() as outage:
            outage.setattr(MemoryTsp, "report_operations", _unreachable)
            with counted(cmk_tsp) as calls:
                look()
        assert [(call.route, call.count) for call in calls] == [("batch_unwrap", 2)]
        with counted(cmk_tsp) as calls:
            look()
    assert [(call.route, call.count) for call in calls] == [("report_operations", 2)]


def _unreachable(*_: Any) -> None:
    raise TspUnreachable


def test_the_policy_is_asked_before_a_kept_key_is_used(cmk_tsp: MemoryTsp) -> None:
    person()
    with reuse_keys(seconds=30, uses=10):
        look()
        with override_settings(CMK_POLICY=lambda ask: "never"), pytest.raises(AccessRefused):
            look()


def test_a_forked_child_has_no_keys(cmk_tsp: MemoryTsp) -> None:
    person()
    with reuse_keys(seconds=30, uses=10) as ring:
        look()
        child = os.fork()
        if child == 0:  # pragma: no cover - its own process
            (kept,) = ring._kept
            os._exit(0 if ring._opened(kept, key_ring._now()) is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with counted(cmk_tsp) as calls:
            look()
        assert calls == []


@pytest.mark.parametrize("bounds", [(0, 1), (61, 1), (-1, 1), (1, 0), (1, 10_001)])
def test_bounds_are_bounded(bounds: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="kept"):
        reuse_keys(seconds=bounds[0], uses=bounds[1])


@override_settings(CMK_REUSE_KEYS={"seconds": 30, "uses": 10})
def test_the_middleware_keeps_keys_for_one_request(cmk_tsp: MemoryTsp) -> None:
    person()

    def view(request: HttpRequest) -> HttpResponse:
        look()
        return HttpResponse(str(look()[0]))

    call: Any = CmkMiddleware(view)
    for _ in range(2):
        with counted(cmk_tsp) as calls:
            assert call(RequestFactory().get("/")).content == b"flu"
        assert [call.route for call in calls] == ["unwrap", "report_operations"]


@pytest.mark.django_db(transaction=True)
@override_settings(CMK_REUSE_KEYS={"seconds": 30, "uses": 10})
async def test_in_a_coroutine_the_report_does_not_block_the_loop(cmk_tsp: MemoryTsp) -> None:
    await sync_to_async(person)()
    with pytest.raises(SynchronousOnlyOperation), reuse_keys(seconds=1, uses=1):
        pass

    async def view(request: HttpRequest) -> HttpResponse:
        await sync_to_async(look)()
        return HttpResponse(str((await sync_to_async(look)())[0]))

    call: Any = CmkMiddleware(view)
    with counted(cmk_tsp) as calls:
        assert (await call(AsyncRequestFactory().get("/"))).content == b"flu"
    assert [call.route for call in calls] == ["unwrap", "report_operations"]
    await sync_to_async(lambda: connection.close())()


def test_one_block_is_entered_once(cmk_tsp: MemoryTsp) -> None:
    block = reuse_keys(seconds=1, uses=1)
    with block, pytest.raises(RuntimeError, match="one block"):
        block.__enter__()
