"""Fixtures of the proxy's tests: a data plane in memory, in direct and in leased mode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.tsp.doubles import World, world
from tsp.contract.tenant import Leasing


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
