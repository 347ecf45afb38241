"""Fixtures of the proxy's tests: a data plane in memory; what a process of its own is fed with and ships to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.feed import FeedServer
from tests.support.hec import HOOK_SECRET, Hook
from tests.support.people import NORTH, SOUTH, document, sealed_record
from tests.support.redis import Redis
from tests.tsp.doubles import World, world
from tsp.contract.tenant import Leasing, SiemBody
from tsp.kms.local import create_key_file


@pytest.fixture
async def direct(tmp_path: Path) -> AsyncIterator[World]:
    """Each key is wrapped by the tenant's key service itself."""
    made = world(tmp_path)
    yield made
    await _end(made)


@pytest.fixture
async def leased(tmp_path: Path) -> AsyncIterator[World]:
    """Keys are wrapped under a leased key."""
    made = world(tmp_path, leasing=Leasing(enabled=True))
    yield made
    await _end(made)


async def _end(made: World) -> None:
    for tenant in made.tenants.by_name.values():
        for kms in tenant.kms:
            kms.adapter.hold.set()
    await made.plane.renewal.settled()
    await made.plane.leases.journal.drained()
    made.plane.close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """The log server of all tenants."""
    found = Hook(HOOK_SECRET)
    yield found
    found.stop()


@pytest.fixture
def feed(hook: Hook, tmp_path: Path) -> Iterator[FeedServer]:
    """North is leased, south direct; each with a key file and the log server."""
    found = FeedServer()
    for at, name in enumerate((NORTH, SOUTH)):
        create_key_file(tmp_path / name)
        body = SiemBody("webhook", {"url": hook.url + "/cmk", "secret": HOOK_SECRET})
        kms = document(name, 10 + at, key_file=tmp_path / name, leased=name == NORTH)
        found.records += [
            sealed_record(kms, sequence=2 * at + 1),
            sealed_record(document(name, 20 + at, body=body), sequence=2 * at + 2),
        ]
    yield found
    found.stop()


@pytest.fixture
def redis() -> Iterator[Redis]:
    found = Redis()
    yield found
    found.stop()
