"""Steps that the tests of leases share: ask, let time pass in the background, look."""

from __future__ import annotations

from typing import Any

from tests.tsp.doubles import World, call, request
from tsp.leases.lease import Lease


async def wrap(made: World, tenant: str = "a") -> Any:
    return await call(made.plane.app, "document/wrap", request(tenant))


async def unwrap(made: World, edek: str, tenant: str = "a") -> Any:
    return await call(made.plane.app, "document/unwrap", request(tenant, encryptedDocumentKey=edek))


async def tick(made: World) -> None:
    """One round in the background, and all that it started."""
    await made.plane.renewal.tick()
    await made.plane.renewal.settled()
    await made.plane.leases.journal.drained()


def only(made: World) -> Lease:
    [(_, lease)] = made.plane.leases.all()
    return lease
