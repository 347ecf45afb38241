"""For every test: no planted secret in its output, no skip in CI, and real servers for those that ask."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.support import canary
from tests.support.mariadb import MariaDb
from tests.support.postgres import Postgres
from tests.support.redis import Redis

OURS = ("tsp", "broker", "encrypted_fields", "cmk_project", "examples", "django.request")


def pytest_configure() -> None:
    from django.conf import settings

    logging.getLogger().setLevel(logging.INFO)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    canary.register("the test run's API key", settings.CMK_TSP_API_KEY)


@pytest.fixture
def plant() -> Any:
    """`plant("what it is")` returns a secret; the test fails if any output of it shows that secret."""
    return canary.plant


@pytest.fixture(autouse=True)
def _no_secret_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No planted secret in any log record of the test, nor in its arguments, whatever the level that is printed."""
    yield
    for phase in ("setup", "call"):
        for record in caplog.get_records(phase):  # type: ignore[arg-type]
            found = canary.leaks(f"{record.getMessage()} {record.exc_info} {record.args!r}")
            assert not found, f"the log of {record.name} shows {', '.join(found)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Also what the test printed is scanned; and in CI a skip is a failure."""
    report = yield
    leaking = canary.leaks("\n".join(text for _, text in report.sections))
    if report.when == "teardown" and leaking:
        report.outcome, report.longrepr = "failed", f"the output of {item.nodeid} shows {', '.join(leaking)}"
        report.sections = []
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr}"
    return report


def pytest_make_parametrize_id(val: object) -> str | None:
    """A name without a memory address: the workers of a parallel run must agree on the names of the tests."""
    return type(val).__name__ if " object at 0x" in repr(val) else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if os.environ.get("CI") == "true" and report.skipped:
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for the session, started when the first test asks."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> str:
    """The address of a fresh, empty PostgreSQL database."""
    return postgres_server.database()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDb]:
    """One MariaDB for the session, started when the first test asks."""
    server = MariaDb()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One durable Redis for the session, started when the first test asks."""
    server = Redis()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """The address of an empty Redis (AOF on every write, noeviction)."""
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url
