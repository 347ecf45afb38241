"""Tenant and facts travel with Celery tasks, through a real worker; what was changed on the way opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from django.core import signing

from encrypted_fields import acting, celery, current_tenant, tenancy, tenant
from encrypted_fields.tenancy import BrokenFacts, Facts, current_facts, metadata

SEEN: list[Any] = []
app = Celery("cmk-tests", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.update(worker_hijack_root_logger=False, broker_transport_options={"polling_interval": 0.02})


@app.task(name="cmk_tests.note")
def note(fail: bool = False) -> None:
    try:
        SEEN.append((current_tenant(), metadata("any", "label", None)))
    except BrokenFacts as broken:
        SEEN.append(broken)
    if fail:
        raise KeyError("as told")


@pytest.fixture(scope="module")
def worker() -> Iterator[None]:
    celery.connect()
    celery.connect()  # twice is once
    with start_worker(app, perform_ping_check=False, pool="solo", shutdown_timeout=20):
        yield
    for signal in (signals.before_task_publish, signals.task_prerun, signals.task_postrun):
        signal.receivers = [entry for entry in signal.receivers if "encrypted_fields" not in str(entry[0])]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    SEEN.clear()


def done(result: Any) -> Any:
    result.get(timeout=20, propagate=False, disable_sync_subtasks=False)
    return SEEN[-1]


def test_a_task_acts_for_its_caller(worker: None) -> None:
    facts: dict[str, Any] = {"source_ip": "10.0.0.9", "request_id": "r7", "reason": "export", "custom": {"a": "b"}}
    with tenant("north"), acting("user-7", **facts):
        found, about = done(note.delay())
    assert found == "north"
    assert (about.requesting_id, about.source_ip, about.request_id) == ("user-7", "10.0.0.9", "r7")
    assert about.custom == {"a": "b", "reason": "export"}


def test_the_next_task_starts_clean_also_after_a_failure(worker: None) -> None:
    after: list[Any] = []

    def look(**_: Any) -> None:
        after.append((current_tenant(), current_facts()))

    signals.task_postrun.connect(look)
    try:
        with tenant("north"), acting("user-7"):
            done(note.delay(fail=True))
    finally:
        signals.task_postrun.disconnect(look)
    assert after == [(None, Facts())]
    found, about = done(note.delay())
    assert (found, about.requesting_id) == (None, "tests")


def test_a_header_that_was_changed_or_moved_opens_nothing(worker: None) -> None:
    """Whoever can write to the broker cannot speak for another tenant or person."""
    forged = signing.dumps({"tenant": "south"}, key="another", salt="encrypted_fields.celery")
    with tenant("north"):
        moved = signing.dumps(
            {"tenant": "south", "facts": {}, "task": "cmk_tests.note", "id": "another task"},
            salt="encrypted_fields.celery",
        )
    for header in (forged, moved, "x", 7):
        assert isinstance(done(_sent(header)), BrokenFacts)


def test_a_task_that_was_published_elsewhere_has_neither(worker: None) -> None:
    found, about = done(_sent(None))
    assert (found, about.requesting_id) == (None, "tests")


def test_an_eager_task_runs_in_its_callers_block(worker: None) -> None:
    with tenant("north"), acting("user-7"):
        note.apply()
        assert current_tenant() == "north"
    found, about = SEEN[-1]
    assert (found, about.requesting_id) == ("north", "user-7")


def test_broken_facts_stay_broken_in_the_tasks_that_follow(worker: None) -> None:
    token = tenancy._facts.set(Facts(broken="not signed"))
    try:
        result = note.delay()
    finally:
        tenancy._facts.reset(token)
    assert str(done(result)) == "not signed"


def _sent(header: Any) -> Any:
    """As another program would: with a header of its own, past our signal."""
    receivers = signals.before_task_publish.receivers
    signals.before_task_publish.receivers = []
    try:
        return note.apply_async(headers={} if header is None else {"cmk": header})
    finally:
        signals.before_task_publish.receivers = receivers
