"""Blobs with their EDEK in front, and what rekeying does to every form."""

from __future__ import annotations

import mmap

import pytest

from encrypted_fields import client, documents
from encrypted_fields.core.errors import CmkError, InvalidCiphertext
from encrypted_fields.documents import EncryptedDocument, Format, Trust, attached, v3, v5
from encrypted_fields.documents.key import DocumentKey
from tests.encrypted_fields.core.draw import flipped
from tests.encrypted_fields.documents.conftest import DOCUMENT, FORMATS, A, B
from tests.encrypted_fields.documents.memory import CONFIG, Keys


@pytest.mark.parametrize("data", [b"", b"x", bytes(100_000)])
def test_opens_what_it_sealed(keys: Keys, data: bytes) -> None:
    blob = attached.encrypt(data, A)
    assert blob[:6] == CONFIG.to_bytes(4, "big") + b"\x02\x00"
    assert attached.decrypt(blob, A) == attached.decrypt(memoryview(blob), A) == data
    with pytest.raises(InvalidCiphertext):
        attached.decrypt(blob, B)


def test_every_flipped_bit_and_every_cut_is_refused(keys: Keys) -> None:
    blob = attached.encrypt(b"x", A)
    for damaged in flipped(blob):
        with pytest.raises(CmkError):
            attached.decrypt(damaged, A)
    for size in range(len(blob)):
        with pytest.raises(InvalidCiphertext):
            attached.decrypt(blob[:size], A)


def test_refuses_to_seal_twice(keys: Keys) -> None:
    field = documents.encrypt({"f": b"x"}, A).fields["f"]
    for sealed in (attached.encrypt(b"x", A), field):
        with pytest.raises(documents.AlreadyEncrypted):
            attached.encrypt(sealed, A)
    with pytest.raises(TypeError):
        attached.encrypt("text", A)  # type: ignore[arg-type]


def test_a_value_too_long_for_one_call_is_a_mistake() -> None:
    with DocumentKey(bytearray(32)) as key, mmap.mmap(-1, 2**31) as huge, memoryview(huge) as view:
        with pytest.raises(ValueError, match="stream"):
            key.seal(view)
        with pytest.raises(ValueError, match="stream"):
            key.open(view)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("tenant", "about"), [(None, A), ("b", B)])
def test_a_rekeyed_document_opens_for_its_new_tenant_only(
    keys: Keys, form: Format, tenant: str | None, about: documents.Metadata
) -> None:
    sealed = documents.encrypt(DOCUMENT, A, format=form)
    keys.calls.clear()
    moved = documents.rekey(sealed, A, tenant)
    assert keys.calls == [("rekey", 1)]
    assert moved.edek != sealed.edek
    assert documents.decrypt(moved, about) == DOCUMENT
    with pytest.raises(CmkError):
        documents.decrypt(moved, B if tenant is None else A)
    assert documents.decrypt(sealed, A) == DOCUMENT  # the old bytes stay what they were


def test_rekeying_touches_no_sealed_data(keys: Keys) -> None:
    five, three = documents.encrypt({"f": b"x"}, A), documents.encrypt({"f": b"x"}, A, format=Format.V3)
    assert documents.rekey(five, A, "b").fields == five.fields
    assert documents.rekey(three, A).fields == three.fields
    assert bytes(documents.rekey(three, A, "b").fields["f"])[-29:] == bytes(three.fields["f"])[-29:]


@pytest.mark.parametrize("tenant", [None, "b"])
def test_a_rekeyed_blob_opens(keys: Keys, tenant: str | None) -> None:
    blob = attached.encrypt(b"x", A)
    moved = attached.rekey(blob, A, tenant)
    assert attached.decrypt(moved, B if tenant else A) == b"x"
    assert moved[-29:] == blob[-29:]


@pytest.mark.parametrize("form", FORMATS)
def test_a_tampered_document_is_not_signed_anew(keys: Keys, form: Format) -> None:
    """Rekeying must not turn a header that nobody would open into one that everybody does."""
    sealed, other = (documents.encrypt({"f": b"x"}, A, format=form) for _ in range(2))
    if form is Format.V3:
        spliced = EncryptedDocument(sealed.edek, other.fields)
    else:
        signed = bytearray(sealed.edek)
        signed[12] ^= 1
        spliced = EncryptedDocument(bytes(signed), sealed.fields)
    with pytest.raises(InvalidCiphertext):
        documents.rekey(spliced, A, "b")


def test_a_foreign_document_is_not_rekeyed(keys: Keys) -> None:
    sealed = documents.encrypt({"f": b"x"}, B)
    keys.calls.clear()
    with pytest.raises(InvalidCiphertext):
        documents.rekey(sealed, A)
    with pytest.raises(InvalidCiphertext):
        attached.rekey(attached.encrypt(b"x", B), A)
    assert keys.calls == [("wrap", 1)]
    with pytest.raises(ValueError, match="tenant"):
        documents.rekey(sealed, B, "")


def test_unsigned_fields_stay_unsigned(keys: Keys) -> None:
    wrapped = keys.wrap(A)
    with DocumentKey(wrapped.dek) as key:
        old = EncryptedDocument(wrapped.edek, {"f": v3.MAGIC + bytes(2) + key.seal(b"old")})
    with pytest.raises(InvalidCiphertext):
        documents.rekey(old, A, "b")
    moved = documents.rekey(old, A, "b", trust=Trust(unsigned=True))
    assert moved.fields == old.fields
    assert documents.decrypt(moved, B, trust=Trust(unsigned=True)) == {"f": b"old"}


def test_what_others_signed_survives_a_rekey(keys: Keys) -> None:
    """User metadata and members of a later version are inside the signed payload."""
    wrapped = keys.wrap(A)
    with DocumentKey(wrapped.dek) as key:
        edek = b"".join(v5.make(wrapped.edek, "a", key, [(3, b"\n\x01k\x12\x01v"), (9, 7)]))
        sealed = EncryptedDocument(edek, {"f": v5.MAGIC + key.seal(b"x")})
    moved = documents.rekey(sealed, A, "b")
    assert documents.decrypt(moved, B) == {"f": b"x"}
    payload = v5.read(moved.edek[:6], moved.edek[6:]).payload
    assert payload.endswith(b"\x1a\x06\n\x01k\x12\x01v\x48\x07")


def test_a_key_service_that_cannot_rekey_is_a_mistake(keys: Keys) -> None:
    sealed = documents.encrypt({}, A)
    bare = object()
    client.install(bare)  # type: ignore[arg-type]
    try:
        with pytest.raises(TypeError, match="rekey"):
            documents.rekey(sealed, A)
        with pytest.raises(TypeError, match="derive"):
            documents.deterministic.encrypt(b"x", documents.deterministic.Path("s", "d"), A)
    finally:
        client.uninstall(bare)  # type: ignore[arg-type]
