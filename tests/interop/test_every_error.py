"""Every code of the wire API reaches both published clients as the exception that they have for it (wire.md 4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ironcore_alloy as alloy
import pytest

from encrypted_fields.core import errors
from encrypted_fields.core.errors import CmkError
from tests.interop.clients import NodeClient, RefusedError, b64, metadata, saas_shield
from tests.tsp.doubles import API_KEY, FakeKms, FakeTenant, Tenants, world
from tsp import listen

SENT = [
    CmkError, *errors.BY_CODE.values(), errors.AuditUnavailable, errors.Overloaded,
]  # fmt: skip
KINDS = {1: "TspServiceException", 2: "KmsException", 3: "SecurityEventException"}
# gaps of the clients: alloy 0.16 has no class for 210, Node 4.1 does not know 401
NO_CLASS_IN_ALLOY, UNKNOWN_TO_NODE = 210, 401
ALLOY = {
    1: alloy.TenantSecurityProxyError.SERVICE,
    2: alloy.TenantSecurityProxyError.KMS,
    3: alloy.TenantSecurityProxyError.SECURITY_EVENT,
    4: alloy.TenantSecurityProxyError.TENANT_SECRET,
}


class Failing(Tenants):
    """A directory that answers with `error`, so that the proxy's own way of saying it is what clients see."""

    error: CmkError | None = None

    def tenant(self, name: str) -> Any:
        if self.error is not None:
            raise self.error
        return super().tenant(name)


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[tuple[str, Failing]]:
    tenants = Failing(FakeTenant("a", [FakeKms(11)]))
    made = world(tmp_path, tenants=tenants)
    listener = listen.Listener(made.plane.app, "127.0.0.1", 0)
    await listener.start()
    yield f"http://127.0.0.1:{listener.port}", tenants
    await listener.stop()
    made.plane.close()


def test_no_code_is_left_out() -> None:
    """wire.md section 4.2; 0 and the 9xx are made by clients."""
    assert {error.code for error in SENT} == {100, 101, 102, *range(200, 211), 301, 401}


async def test_alloy_knows_every_code(failing: tuple[str, Failing]) -> None:
    url, tenants = failing
    standard = saas_shield(url, API_KEY).standard()
    for error in SENT:
        tenants.error = error()
        with pytest.raises(alloy.AlloyError.TspError) as caught:
            await standard.encrypt({"f": b"x"}, metadata())
        assert (caught.value.tsp_code, caught.value.http_code) == (error.code, error.http)
        kind = 1 if error.code == NO_CLASS_IN_ALLOY else error.code // 100
        assert isinstance(caught.value.error, ALLOY[kind]), error
    tenants.error = None
    assert (await standard.encrypt({"f": b"x"}, metadata())).edek


async def test_node_knows_every_code(failing: tuple[str, Failing]) -> None:
    url, tenants = failing
    node = NodeClient(url, API_KEY)
    try:
        for error in SENT:
            tenants.error = error()
            with pytest.raises(RefusedError) as caught:
                await asyncio.to_thread(node.call, "encrypt", document={"f": b64(b"x")})
            code = 100 if error.code == UNKNOWN_TO_NODE else error.code
            assert (caught.value.code, caught.value.http) == (code, error.http)
            assert caught.value.kind == KINDS[code // 100], error
            assert error.code == UNKNOWN_TO_NODE or str(caught.value) == error.default
        tenants.error = None
        assert await asyncio.to_thread(node.call, "encrypt", document={"f": b64(b"x")})
    finally:
        node.close()
