"""The frozen vectors (Q-5): what they say opens, opens to the same bytes; everything else is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey

from encrypted_fields.core import blind, envelope, order
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.client_sealed import shape_of
from encrypted_fields.core.context import KeyContext, ValueContext, canonical
from encrypted_fields.core.errors import InvalidCiphertext, KmsError
from encrypted_fields.core.memory import SecretBytes
from encrypted_fields.core.stream import OpeningReader
from tests.support import client_sealing
from tests.vectors import corpus, make
from tsp import edek
from tsp.contract import events, sealed, tenant
from tsp.egress import Egress
from tsp.kms.local import LocalKms
from tsp.unseal import CannotOpen, PrivateKeys

Vector = dict[str, Any]


def each(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", [pytest.param(found, id=found["name"]) for found in corpus.load(name)])


@each("context")
def test_context(vector: Vector) -> None:
    assert canonical(vector["label"], *map(bytes.fromhex, vector["parts"])).hex() == vector["bytes"]


@each("value")
def test_value(vector: Vector) -> None:
    def opened() -> bytes:
        return envelope.parse(bytes.fromhex(vector["stored"])).open(
            ValueKey(bytes.fromhex(vector["dek"])), _place(vector)
        )

    if vector["expect"] == "opens":
        assert opened().hex() == vector["plaintext"]
    else:
        with pytest.raises(InvalidCiphertext):
            opened()


@each("file")
def test_file(vector: Vector) -> None:
    def opened() -> bytes:
        data = io.BytesIO(bytes.fromhex(vector["sealed"]))
        reader = OpeningReader(data, bytes.fromhex(vector["dek"]), _place(vector))
        assert reader.name == vector.get("filename")
        return reader.read()

    if vector["expect"] == "opens":
        assert vector.get("plaintext") == opened().hex() or _sha256(opened()) == vector["plaintext_sha256"]
    else:
        with pytest.raises(InvalidCiphertext):
            opened()


@each("edek")
def test_edek(vector: Vector, tmp_path: Path) -> None:
    kms = _kms(tmp_path, bytes.fromhex(vector["kek"]))
    vendor, name = vector["vendor"], vector["tenant"]

    def opened() -> bytes:
        """As the service does it, step by step, with the local key service."""
        found = edek.parse(bytes.fromhex(vector["edek"]), name)
        content = found.content if found.elek is None else found.elek
        context = KeyContext(vendor, name, found.config, "dek" if found.elek is None else "lek")
        key = bytes(kms.unwrap(edek.blob_of(content), context))
        edek.check_direct(content, key, context)
        if found.elek is None:
            return key
        return bytes(edek.open_leased(key, edek.lease_info(vendor, name, found.config, found.digest), found.content))

    if vector["expect"] == "opens":
        assert opened().hex() == vector["dek"]
    else:
        with pytest.raises(KmsError):
            opened()


@each("sealed")
def test_sealed_configuration(vector: Vector) -> None:
    keys = PrivateKeys([SecretBytes.take(bytes.fromhex(vector["private_key"]))])
    record = sealed.load(vector["record"])
    if vector["expect"] == "opens":
        key, document = keys.open(record.boxes)
        assert document.decode() == vector["document"]
        assert record.hash == vector["hash"]
        assert tenant.load(document).binding.tsp_key == key
        assert tenant.dump(tenant.load(document)) == document
    else:
        with pytest.raises(CannotOpen):
            keys.open(record.boxes)


@each("event")
def test_event(vector: Vector) -> None:
    line = vector["line"].encode()
    if vector["expect"] == "opens":
        again = events.load(events.dump(events.load(line)))
        assert again == events.load(line)
    else:
        with pytest.raises(ValueError, match=r"."):
            events.load(line)


@each("index")
def test_index(vector: Vector) -> None:
    places = [(model, field) for model, field in vector["places"]]
    key = blind.index_key(bytes.fromhex(vector["derived"]), vector["tenant"], places, vector["index"])
    if "ordered" in vector:
        made = order.ordered(blind.ready(key), vector["number"], vector["ordered"], vector["width"])
        assert made.hex() == vector["stored"]
        return
    values = [bytes.fromhex(value) for value in vector["values"]]
    assert blind.blind(key, vector["number"], values, vector["bits"]).hex() == vector["stored"]


@each("client")
def test_sealed_in_the_browser(vector: Vector) -> None:
    """By the reading side that is written with PyNaCl; what it opens has a shape, which the library reads."""
    data, key = bytes.fromhex(vector["sealed"]), PrivateKey(bytes.fromhex(vector["private_key"]))

    def opened() -> client_sealing.Content:
        return client_sealing.unseal(data, key, _place(vector).aad("cmk/client/1"))

    if vector["expect"] == "opens":
        found = opened()
        assert vector.get("plaintext") == found.data.hex() or _sha256(found.data) == vector["plaintext_sha256"]
        assert (found.name, found.bound) == (vector.get("filename", ""), vector["row"] is not None)
        shape = shape_of(data)
        assert client_sealing.key_id(key) in shape.recipients
        assert shape.size == (len(found.data) if found.name else len(client_sealing.padded(found.data, 64)))
    else:
        with pytest.raises((CryptoError, RuntimeError, KeyError, ValueError)):
            opened()


@pytest.mark.parametrize("name", corpus.FILES)
def test_each_file_has_what_opens_and_what_is_refused(name: str) -> None:
    found = {vector["expect"] for vector in corpus.load(name)}
    assert found == ({"equal"} if name in ("context", "index") else {"opens", "refused"})


@pytest.mark.parametrize("name", corpus.FILES)
def test_the_code_still_makes_the_same_bytes(name: str, tmp_path: Path) -> None:
    """A format that changed by accident shows here, byte by byte."""
    make.main(tmp_path)
    assert (tmp_path / f"{name}.json").read_bytes() == (corpus.FOLDER / f"{name}.json").read_bytes()


def _place(vector: Vector) -> ValueContext:
    row = None if vector["row"] is None else bytes.fromhex(vector["row"])
    return ValueContext(vector["tenant"], vector["model"], vector["field"], row)


def _kms(folder: Path, key: bytes) -> LocalKms:
    file = folder / "key.json"
    file.write_text(json.dumps({"key": base64.b64encode(key).decode(), "enabled": True}))
    return LocalKms(LocalKms.Config(str(file)), Egress())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
