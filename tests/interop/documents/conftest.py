"""The library's own client against the sandbox, beside IronCore's clients on the same sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import ironcore_alloy as alloy
import pytest

from encrypted_fields import client, documents
from encrypted_fields.conf import Conf
from tests.interop.clients import saas_shield
from tests.support.sandbox import Sandbox

A, B = documents.Metadata("a", "user-1", "PII"), documents.Metadata("b", "user-1", "PII")
DOCUMENT = {"name": b"Jim Bridger", "note": "Ärztlich ✓".encode(), "bytes": bytes(range(256)), "empty": b""}


@pytest.fixture(autouse=True)
def ours(proxy: Sandbox) -> Iterator[client.TspClient]:
    service = client.TspClient(Conf(tsp_url=proxy.url, api_key=proxy.api_key))
    client.install(service)
    yield service
    client.uninstall(service)


@pytest.fixture
async def shield(proxy: Sandbox) -> alloy.SaasShield:
    return saas_shield(proxy.url, proxy.api_key)


@pytest.fixture
async def legacy(proxy: Sandbox) -> alloy.SaasShield:
    """Alloy writing V3."""
    return saas_shield(proxy.url, proxy.api_key, legacy=True)
