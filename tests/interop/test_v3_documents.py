"""Documents in the older clients' form (V3): written by one published client, read by the other, with our keys."""

from __future__ import annotations

import ironcore_alloy as alloy
import pytest

from tests.interop.clients import NodeClient, b64, metadata, saas_shield, unb64
from tests.support.sandbox import Sandbox

DOCUMENT = {"name": b"Jim Bridger", "note": "Ärztlich ✓".encode()}


async def test_alloy_reads_what_node_wrote(proxy: Sandbox, node: NodeClient) -> None:
    written = node.call("encrypt", document={name: b64(data) for name, data in DOCUMENT.items()})
    document = {name: unb64(data) for name, data in written["encryptedDocument"].items()}
    assert all(data.startswith(b"\x03IRON") for data in document.values())
    found = alloy.EncryptedDocument(edek=unb64(written["edek"]), document=document)
    standard = saas_shield(proxy.url, proxy.api_key).standard()
    assert await standard.decrypt(found, metadata()) == DOCUMENT


async def test_node_reads_what_alloy_wrote_in_the_old_form(proxy: Sandbox, node: NodeClient) -> None:
    standard = saas_shield(proxy.url, proxy.api_key, legacy=True).standard()
    written = await standard.encrypt(DOCUMENT, metadata())
    assert all(data.startswith(b"\x03IRON") for data in written.document.values())
    document = {name: b64(data) for name, data in written.document.items()}
    opened = node.call("decrypt", document={"edek": b64(written.edek), "encryptedDocument": document})
    assert {name: unb64(data) for name, data in opened["plaintextDocument"].items()} == DOCUMENT


async def test_alloy_moves_nodes_edek_to_another_tenant_and_node_reads_it(proxy: Sandbox, node: NodeClient) -> None:
    written = node.call("encrypt", document={"name": b64(b"Jim")})
    standard = saas_shield(proxy.url, proxy.api_key, legacy=True).standard()
    moved = await standard.rekey_edeks({"1": unb64(written["edek"])}, metadata(), "b")
    edek = b64(moved.successes["1"])
    opened = node.call("decrypt", "b", document={**written, "edek": edek})
    assert opened["plaintextDocument"] == {"name": b64(b"Jim")}


async def test_a_changed_v3_document_is_refused_by_both(proxy: Sandbox, node: NodeClient) -> None:
    """So the two tests above prove the right key, not just any answer."""
    written = node.call("encrypt", document={"name": b64(b"Jim")})
    data = bytearray(unb64(written["encryptedDocument"]["name"]))
    data[-1] ^= 1
    with pytest.raises(Exception, match=r"."):
        node.call("decrypt", document={**written, "encryptedDocument": {"name": b64(data)}})
    standard = saas_shield(proxy.url, proxy.api_key).standard()
    changed = alloy.EncryptedDocument(edek=unb64(written["edek"]), document={"name": bytes(data)})
    with pytest.raises(alloy.AlloyError):
        await standard.decrypt(changed, metadata())
