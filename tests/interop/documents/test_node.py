"""Documents written here open with IronCore's Node client, and the other way round: V3 and deterministic fields."""

from __future__ import annotations

import io

import pytest

from encrypted_fields import documents
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.documents import EncryptedDocument, Format, Trust, deterministic
from encrypted_fields.documents.deterministic import Dialect, Path
from tests.interop.clients import NodeClient, RefusedError, b64, unb64
from tests.interop.documents.conftest import DOCUMENT, A, B

LONG = bytes(range(256)) * 4000
PATH = Path("mail", "clinic")


def to_node(sealed: EncryptedDocument) -> dict[str, object]:
    return {"edek": b64(sealed.edek), "encryptedDocument": {name: b64(bytes(v)) for name, v in sealed.fields.items()}}


def from_node(sealed: dict[str, dict[str, str]]) -> EncryptedDocument:
    edek: object = sealed["edek"]
    return EncryptedDocument(unb64(str(edek)), {name: unb64(v) for name, v in sealed["encryptedDocument"].items()})


def shown(fields: dict[str, bytes]) -> dict[str, str]:
    return {name: b64(value) for name, value in fields.items()}


def test_node_opens_ours(node: NodeClient) -> None:
    sealed = documents.encrypt(DOCUMENT, A, format=Format.V3)
    assert node.call("decrypt", document=to_node(sealed))["plaintextDocument"] == shown(DOCUMENT)


def test_we_open_nodes(node: NodeClient) -> None:
    sealed = from_node(node.call("encrypt", document=shown(DOCUMENT)))
    assert documents.decrypt(sealed, A) == DOCUMENT
    with pytest.raises(InvalidCiphertext):
        documents.decrypt(sealed, B)


def test_node_refuses_ours_with_a_changed_bit(node: NodeClient) -> None:
    """So that the tests above prove the key and the format, not just any answer."""
    sealed = documents.encrypt({"f": b"x"}, A, format=Format.V3)
    value = bytearray(sealed.fields["f"])
    value[-1] ^= 1
    with pytest.raises(RefusedError):
        node.call("decrypt", document=to_node(EncryptedDocument(sealed.edek, {"f": value})))


def test_node_refuses_to_seal_ours_again(node: NodeClient) -> None:
    sealed = documents.encrypt({"f": b"x"}, A, format=Format.V3)
    with pytest.raises(RefusedError) as caught:
        node.call("encrypt", document={"f": b64(bytes(sealed.fields["f"]))})
    assert caught.value.code == documents.AlreadyEncrypted.code


def test_node_writes_under_our_edek_and_we_under_nodes(node: NodeClient) -> None:
    ours = documents.encrypt({"f": b"x"}, A, format=Format.V3)
    plain = {"edek": b64(ours.edek), "plaintextDocument": {"g": b64(b"y")}}
    more = from_node(node.call("encryptAgain", document=plain))
    assert documents.decrypt(more, A) == {"g": b"y"}
    again = documents.encrypt({"h": b"z"}, A, edek=more.edek)
    assert node.call("decrypt", document=to_node(again))["plaintextDocument"] == {"h": b64(b"z")}


def test_batches_cross_both_ways(node: NodeClient) -> None:
    plain = {f"döc {number}": {"f": str(number).encode()} for number in range(20)}
    ours = documents.encrypt_batch(plain, A, format=Format.V3)
    asked = {name: to_node(sealed) for name, sealed in ours.items() if isinstance(sealed, EncryptedDocument)}
    opened = node.call("decryptBatch", documents=asked)
    assert {n: one["plaintextDocument"] for n, one in opened["successes"].items()} == {
        name: shown(fields) for name, fields in plain.items()
    }
    theirs = node.call("encryptBatch", documents={name: shown(fields) for name, fields in plain.items()})
    read = {name: from_node(sealed) for name, sealed in theirs["successes"].items()}
    assert documents.decrypt_batch(read, A) == plain


def test_node_opens_our_stream_and_checks_its_signature(node: NodeClient) -> None:
    target = io.BytesIO()
    edek = documents.encrypt_stream(io.BytesIO(LONG), target, A, format=Format.V3)
    assert unb64(node.call("decryptStream", edek=b64(edek), data=b64(target.getvalue()))["data"]) == LONG
    damaged = bytearray(target.getvalue())
    damaged[20] ^= 1  # within the signature, which only this call of the Node client verifies
    with pytest.raises(RefusedError):
        node.call("decryptStream", edek=b64(edek), data=b64(bytes(damaged)))


def test_we_open_nodes_stream(node: NodeClient) -> None:
    sealed, target = node.call("encryptStream", data=b64(LONG)), io.BytesIO()
    assert documents.decrypt_stream(io.BytesIO(unb64(sealed["data"])), target, unb64(sealed["edek"]), A) == len(LONG)
    assert target.getvalue() == LONG


def test_rekeyed_documents_cross_both_ways(node: NodeClient) -> None:
    ours = documents.rekey(documents.encrypt(DOCUMENT, A, format=Format.V3), A, "b")
    assert node.call("decrypt", "b", document=to_node(ours))["plaintextDocument"] == shown(DOCUMENT)
    theirs = from_node(node.call("encrypt", document=shown(DOCUMENT)))
    edek = node.call("rekey", edek=b64(theirs.edek), newTenant="b")
    moved = EncryptedDocument(unb64(edek), theirs.fields)
    assert documents.decrypt(moved, B, trust=Trust(former_tenants=["a"])) == DOCUMENT


def test_deterministic_fields_are_the_same_bytes(node: NodeClient) -> None:
    field = {"secretPath": PATH.secret, "derivationPath": PATH.derivation}
    theirs = node.call("encryptField", field={**field, "plaintextField": b64(b"jim@x.org")})
    ours = deterministic.encrypt(b"jim@x.org", PATH, A, dialect=Dialect.TSC)
    assert b64(ours) == theirs["encryptedField"]
    assert deterministic.decrypt(unb64(theirs["encryptedField"]), PATH, A, dialect=Dialect.TSC) == b"jim@x.org"
    opened = node.call("decryptField", field={**field, "encryptedField": b64(ours)})
    assert opened["plaintextField"] == b64(b"jim@x.org")
    with pytest.raises(InvalidCiphertext):
        deterministic.decrypt(ours, PATH, A, dialect=Dialect.ALLOY)
