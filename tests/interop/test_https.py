"""Both clients over https with a private certificate authority, and neither without it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import ironcore_alloy as alloy
import pytest

from tests.interop.clients import NodeClient, RefusedError, b64, metadata, saas_shield
from tests.interop.tls import TlsFront
from tests.support.ca import Authority
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def front(proxy: Sandbox, authority: Authority) -> Iterator[TlsFront]:
    running = TlsFront(int(proxy.url.rsplit(":", 1)[1]), authority.server())
    yield running
    running.close()


async def test_alloy_over_https(proxy: Sandbox, front: TlsFront, authority: Authority) -> None:
    """TLS is the host program's business: with its authority it works, without it no request is made."""
    standard = saas_shield(front.url, proxy.api_key, verify=ssl.create_default_context(cadata=authority.pem)).standard()
    sealed = await standard.encrypt({"f": b"x"}, metadata())
    assert await standard.decrypt(sealed, metadata()) == {"f": b"x"}
    with pytest.raises(alloy.AlloyError):
        await saas_shield(front.url, proxy.api_key).standard().encrypt({"f": b"x"}, metadata())


def test_node_over_https(proxy: Sandbox, front: TlsFront, authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(authority.pem)
    trusting, plain = NodeClient(front.url, proxy.api_key, ca=file), NodeClient(front.url, proxy.api_key)
    try:
        sealed = trusting.call("encrypt", document={"f": b64(b"x")})
        assert trusting.call("decrypt", document=sealed)["plaintextDocument"] == {"f": b64(b"x")}
        with pytest.raises(RefusedError) as caught:
            plain.call("encrypt", document={"f": b64(b"x")})
        assert caught.value.code == 0
    finally:
        trusting.close()
        plain.close()
