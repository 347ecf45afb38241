"""Machines whose wall clocks differ: a worker's proof looks no younger than it is. R-2, R-26, house decision 5."""

from __future__ import annotations

import pytest

from encrypted_fields.core.errors import CmkError
from tests.tsp.leases.conftest import Worlds
from tests.tsp.leases.key_service import HANG
from tests.tsp.leases.world import Issued, World


def _used(world: World, seconds: float, issued: Issued) -> None:
    proxy = world.proxies[0]
    world.advance(seconds, lambda: world.do(world.unwrap(proxy, issued)), most=int(seconds))


def _issued(world: World) -> Issued:
    """A key whose lease is due in a few seconds, and that a worker knows of."""
    issued = world.do(world.wrap(world.proxies[0], "north"))
    assert isinstance(issued, Issued)
    world.tick()
    _used(world, 250.0, issued)
    return issued


@pytest.mark.parametrize("proxy", [-30.0, -5.0, -0.6, 0.0, 200.0])
@pytest.mark.parametrize("worker", [0.0, 0.6, 5.0, 30.0])
def test_a_worker_whose_clock_differs_gains_no_key_a_second(worlds: Worlds, proxy: float, worker: float) -> None:
    """The world holds each key that leaves against the true time of its last proof (I1)."""
    world = worlds()
    world.proxies[0].clock.offset = proxy
    issued = _issued(world)
    world.worker(worker)
    world.kms.mode["north"] = HANG
    _used(world, 90.0, issued)
    served = []
    until = world.now() + 3_700.0
    while world.now() < until:
        if not isinstance(world.do(world.unwrap(world.proxies[0], issued)), CmkError):
            served.append(world.now())
        world.advance(20.0, most=2)
    assert served[-1] < until - 100.0


@pytest.mark.parametrize(("proxy", "worker", "taken"), [(0.0, 0.0, 1), (-0.3, 0.0, 1), (0.0, 5.0, 0), (-5.0, 0.0, 0)])
def test_a_proof_is_taken_between_machines_that_agree_on_the_time(
    worlds: Worlds, proxy: float, worker: float, taken: int
) -> None:
    """Otherwise the proxy asks the key service itself, half a minute later."""
    world = worlds()
    world.proxies[0].clock.offset = proxy
    issued = _issued(world)
    done = world.worker(worker)
    assert (done.proved, done.failed) == ((0, 1) if worker else (1, 0))
    before = len(world.kms.log)
    _used(world, 90.0, issued)
    assert len(world.kms.log) - before == 1 - taken
