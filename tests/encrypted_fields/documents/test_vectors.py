"""The frozen vectors of documents (Q-5): ours, and what IronCore's clients once wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields import client, documents
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.protocol import Derived, DerivedKey, Metadata
from encrypted_fields.documents import EncryptedDocument, attached, deterministic
from encrypted_fields.documents.deterministic import Dialect
from encrypted_fields.documents.deterministic import Path as SecretPath
from tests.vectors import make_documents

FOLDER = Path(make_documents.__file__).parent
Vector = dict[str, Any]


def each(name: str) -> pytest.MarkDecorator:
    found = json.loads((FOLDER / f"{name}.json").read_text())
    return pytest.mark.parametrize("vector", [pytest.param(one, id=one["name"]) for one in found])


class Known:
    """Gives the vector's key whatever EDEK is asked with: the formats alone are on trial."""

    vector: Vector

    def unwrap(self, about: Metadata, edek: bytes) -> bytearray:
        return bytearray.fromhex(self.vector["dek"])

    def derive(self, about: Metadata, paths: Mapping[str, Sequence[str]], kind: str) -> Derived:
        key = DerivedKey(self.vector["secret"], bytearray.fromhex(self.vector["derived_key"]), True)
        return Derived(True, {"s": {"d": [key]}})


@pytest.fixture
def known(vector: Vector) -> Iterator[None]:
    service = Known()
    service.vector = vector
    client.install(service)  # type: ignore[arg-type]
    yield
    client.uninstall(service)  # type: ignore[arg-type]


def opened(vector: Vector) -> bytes:
    about = Metadata(vector.get("tenant", "a"), "user-1")
    if "derived_key" in vector:
        dialect = Dialect(vector["dialect"])
        return deterministic.decrypt(bytes.fromhex(vector["field"]), SecretPath("s", "d"), about, dialect=dialect)
    if "blob" in vector:
        return attached.decrypt(bytes.fromhex(vector["blob"]), about)
    sealed = EncryptedDocument(bytes.fromhex(vector["edek"]), {"f": bytes.fromhex(vector["field"])})
    return documents.decrypt(sealed, about)["f"]


@each("documents-fields")
@pytest.mark.usefixtures("known")
def test_fields(vector: Vector) -> None:
    check(vector)


@each("documents-attached")
@pytest.mark.usefixtures("known")
def test_attached(vector: Vector) -> None:
    check(vector)


@each("documents-deterministic")
@pytest.mark.usefixtures("known")
def test_deterministic(vector: Vector) -> None:
    check(vector)


def check(vector: Vector) -> None:
    if vector["expect"] == "opens":
        assert opened(vector).hex() == vector["plaintext"]
    else:
        with pytest.raises(InvalidCiphertext):
            opened(vector)


@each("documents-captured")
@pytest.mark.usefixtures("known")
def test_what_ironcores_clients_wrote_opens(vector: Vector) -> None:
    assert opened(vector).hex() == vector["plaintext"]


def test_the_vectors_can_be_made_again(tmp_path: Path) -> None:
    make_documents.main(tmp_path)
    for name in make_documents.ALL:
        assert (tmp_path / f"{name}.json").read_bytes() == (FOLDER / f"{name}.json").read_bytes()
