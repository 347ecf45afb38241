"""One sandbox in each mode, and one Node client a sandbox, for all interoperability tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.interop.clients import NodeClient
from tests.support.sandbox import Sandbox, sandbox


@pytest.fixture(scope="session", params=["direct", "leased"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Our proxy with the tenants a and b, wrapping with the key service itself, and under leased keys."""
    with sandbox("a", "b", leased=request.param == "leased") as running:
        yield running


@pytest.fixture(scope="session")
def node(proxy: Sandbox) -> Iterator[NodeClient]:
    client = NodeClient(proxy.url, proxy.api_key)
    yield client
    client.close()


def eventually(check: Callable[[], bool], seconds: float = 5.0) -> None:
    """Returns when `check` is true; an error if that never happens."""
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.1)
