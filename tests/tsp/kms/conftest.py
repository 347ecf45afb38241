"""The key services that the tests of this folder talk to, each started once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.localstack import LocalStack
from tests.support.moto import Moto
from tests.support.softhsm import SoftHsm
from tests.tsp.kms.contract import poisoned_environment
from tsp.egress import Egress

__all__ = ["poisoned_environment"]


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    server = Moto()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def localstack() -> Iterator[LocalStack]:
    server = LocalStack()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def softhsm() -> Iterator[SoftHsm]:
    hsm = SoftHsm()
    yield hsm
    hsm.stop()


@pytest.fixture
def egress() -> Iterator[Egress]:
    """A guard that lets the loopback through."""
    guard = Egress(["127.0.0.0/8"])
    yield guard
    guard.close()
