"""A world of proxies in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from tests.tsp.leases.world import World

Worlds = Callable[..., World]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of steps and failed renewals would keep as many log records."""
    caplog.set_level(logging.CRITICAL, "tsp")


@pytest.fixture
def worlds() -> Iterator[Worlds]:
    """Makes worlds, and ends them."""
    made: list[World] = []

    def make(*names: str, proxies: int = 1) -> World:
        made.append(World(names or ("north",), proxies))
        return made[-1]

    yield make
    for world in made:
        world.end()
