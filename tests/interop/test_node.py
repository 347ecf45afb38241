"""@ironcorelabs/tenant-security-nodejs works against our proxy unchanged."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.interop.clients import NodeClient, RefusedError, b64
from tests.interop.conftest import eventually
from tests.support.sandbox import Sandbox

DOCUMENT = {"name": b64(b"Jim Bridger"), "note": b64("Ärztlich ✓".encode())}
NOT_EDEKS = [b64(b"edek"), b64(bytes(range(200, 232))), "d2hhdCBhIHdhc3RlIG9mIHRpbWUK"]


def field(data: bytes, path: str = "clinic") -> dict[str, str]:
    return {"plaintextField": b64(data), "secretPath": "mail", "derivationPath": path}


@pytest.mark.parametrize("tenant", ["a", "b"])
def test_decrypts_what_it_encrypted(node: NodeClient, tenant: str) -> None:
    sealed = node.call("encrypt", tenant, document=DOCUMENT)
    assert sealed["encryptedDocument"]["name"] != DOCUMENT["name"]
    assert node.call("decrypt", tenant, document=sealed)["plaintextDocument"] == DOCUMENT


def test_batches_round_trip(node: NodeClient) -> None:
    documents = {f"döc {number}": DOCUMENT for number in range(50)}
    sealed = node.call("encryptBatch", documents=documents)
    assert (len(sealed["successes"]), sealed["failures"]) == (50, {})
    opened = node.call("decryptBatch", documents=sealed["successes"])
    assert {name: found["plaintextDocument"] for name, found in opened["successes"].items()} == documents


def test_one_bad_edek_does_not_spoil_a_batch(node: NodeClient) -> None:
    """Rule 6; an id in neither map would kill the whole batch with a TypeError."""
    good = node.call("encrypt", document=DOCUMENT)
    found = node.call("decryptBatch", documents={"good": good, "bad": {**good, "edek": NOT_EDEKS[0]}})
    assert found["successes"]["good"]["plaintextDocument"] == DOCUMENT
    assert found["failures"]["bad"]["code"] == 203
    assert "Provided EDEK didn't contain IronCore EDEKs" in found["failures"]["bad"]["message"]


def test_encrypts_with_an_existing_edek(node: NodeClient) -> None:
    sealed = node.call("encrypt", document=DOCUMENT)
    more = {"edek": sealed["edek"], "plaintextDocument": {"late": b64(b"more")}}
    later = node.call("encryptAgain", document=more)
    assert later["edek"] == sealed["edek"]
    merged = {**sealed, "encryptedDocument": {**sealed["encryptedDocument"], **later["encryptedDocument"]}}
    assert node.call("decrypt", document=merged)["plaintextDocument"] == {**DOCUMENT, "late": b64(b"more")}
    batch = node.call("encryptBatchAgain", documents={"1": more, "2": more})
    assert set(batch["successes"]) == {"1", "2"}


def test_streams_round_trip(node: NodeClient) -> None:
    data = b64(bytes(range(256)) * 1000)
    sealed = node.call("encryptStream", data=data)
    assert node.call("decryptStream", data=sealed["data"], edek=sealed["edek"])["data"] == data


def test_rekeys_to_the_same_and_to_another_tenant(node: NodeClient) -> None:
    sealed = node.call("encrypt", document=DOCUMENT)
    for tenant in ("a", "b"):
        edek = node.call("rekey", edek=sealed["edek"], newTenant=tenant)
        assert edek != sealed["edek"]
        assert node.call("decrypt", tenant, document={**sealed, "edek": edek})["plaintextDocument"] == DOCUMENT
    assert node.call("decrypt", document=sealed)["plaintextDocument"] == DOCUMENT
    with pytest.raises(RefusedError) as caught:
        node.call("decrypt", "a", document={**sealed, "edek": edek})
    assert (caught.value.kind, caught.value.code // 100) == ("KmsException", 2)


@pytest.mark.parametrize("edek", NOT_EDEKS)
def test_bytes_that_are_no_edek_are_203(node: NodeClient, edek: str) -> None:
    sealed = node.call("encrypt", document=DOCUMENT)
    with pytest.raises(RefusedError, match="Provided EDEK didn't contain IronCore EDEKs") as caught:
        node.call("decrypt", document={**sealed, "edek": edek})
    assert (caught.value.code, caught.value.kind) == (203, "KmsException")


def test_an_unknown_tenant_is_201(node: NodeClient) -> None:
    with pytest.raises(RefusedError, match="No configurations available for the provided tenant") as caught:
        node.call("encrypt", "nobody", document=DOCUMENT)
    assert (caught.value.code, caught.value.kind) == (201, "KmsException")
    with pytest.raises(RefusedError) as caught:
        node.call("encryptBatch", "nobody", documents={"1": DOCUMENT})
    assert caught.value.code == 201


def test_a_wrong_key_is_101(proxy: Sandbox, node: NodeClient) -> None:
    with pytest.raises(RefusedError) as caught:
        node.call("encrypt", document=DOCUMENT, key=base64.b64encode(bytes(32)).decode())
    assert (caught.value.code, caught.value.http, caught.value.kind) == (101, 401, "TspServiceException")


def test_a_refusal_of_the_key_service_is_206_and_passes(proxy: Sandbox, node: NodeClient) -> None:
    """In direct mode at once; under a leased key the lease's proof decides, which the lease tests cover."""
    sealed = node.call("encrypt", "b", document=DOCUMENT)
    proxy.revoke("b")
    try:
        if "--leased" not in proxy.process.child.args:
            with pytest.raises(RefusedError) as caught:
                node.call("decrypt", "b", document=sealed)
            assert (caught.value.code, caught.value.kind) == (206, "KmsException")
    finally:
        proxy.restore("b")
    assert node.call("decrypt", "b", document=sealed)["plaintextDocument"] == DOCUMENT


def test_security_events_are_accepted_and_recorded(proxy: Sandbox, node: NodeClient) -> None:
    """Rules 7 and 8: the name inside iclFields, the answer the four bytes null."""
    node.call("event")
    node.call("event", name="NODE_TEST")

    def recorded() -> bool:
        found: dict[str, Any] = {event["action"]: event for event in proxy.events()}
        event = found.get("CUSTOM_NODE_TEST", {})
        return "USER_LOGIN" in found and event.get("custom") == {"k1": "v1"} and event["object_id"] == "object-9"

    eventually(recorded)


def test_deterministic_fields_round_trip_and_compare_equal(node: NodeClient) -> None:
    one, two = (node.call("encryptField", field=field(b"jim@x.org")) for _ in range(2))
    assert one == two
    assert node.call("decryptField", field=one) == field(b"jim@x.org")
    assert node.call("encryptField", "b", field=field(b"jim@x.org")) != one
    assert node.call("encryptField", field=field(b"jim@x.org", "shop"))["encryptedField"] != one["encryptedField"]
    assert node.call("searchTerms", field=field(b"jim@x.org")) == [one]
    assert node.call("rotateField", field=one) == one


def test_every_access_is_in_the_audit_trail(proxy: Sandbox, node: NodeClient) -> None:
    sealed = node.call("encrypt", document=DOCUMENT)
    node.call("decrypt", document=sealed)

    def recorded() -> bool:
        seen = {event["action"]: event for event in proxy.events() if event.get("request_id") == "req-7"}
        return {"dek.wrap", "dek.unwrap"} <= set(seen) and seen["dek.wrap"]["requesting_id"] == "user-1"

    eventually(recorded)
