"""Documents written here open with ironcore-alloy, and the other way round: V5, attached, streams, V3, rekeyed."""

from __future__ import annotations

import io

import ironcore_alloy as alloy
import pytest

from encrypted_fields import documents
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.documents import EncryptedDocument, Format, Trust, deterministic
from encrypted_fields.documents.deterministic import Path
from tests.interop.clients import metadata
from tests.interop.documents.conftest import DOCUMENT, A, B

LONG = bytes(range(256)) * 4000  # four chunks of a stream


def to_alloy(sealed: EncryptedDocument) -> alloy.EncryptedDocument:
    return alloy.EncryptedDocument(edek=sealed.edek, document={n: bytes(v) for n, v in sealed.fields.items()})


def from_alloy(sealed: alloy.EncryptedDocument) -> EncryptedDocument:
    return EncryptedDocument(sealed.edek, sealed.document)


@pytest.mark.parametrize("form", list(Format))
async def test_alloy_opens_ours(shield: alloy.SaasShield, form: Format) -> None:
    sealed = await documents.aencrypt(DOCUMENT, A, format=form)
    assert await shield.standard().decrypt(to_alloy(sealed), metadata("a")) == DOCUMENT


async def test_we_open_alloys_v5(shield: alloy.SaasShield) -> None:
    sealed = await shield.standard().encrypt(DOCUMENT, metadata("a"))
    assert await documents.adecrypt(from_alloy(sealed), A) == DOCUMENT
    with pytest.raises(InvalidCiphertext):
        await documents.adecrypt(from_alloy(sealed), B)


async def test_we_open_alloys_v3(legacy: alloy.SaasShield) -> None:
    sealed = await legacy.standard().encrypt(DOCUMENT, metadata("a"))
    assert bytes(sealed.document["name"])[:5] == b"\x03IRON"
    assert await documents.adecrypt(from_alloy(sealed), A) == DOCUMENT
    with pytest.raises(InvalidCiphertext):
        await documents.adecrypt(from_alloy(sealed), B)


async def test_both_write_the_same_number_of_bytes(shield: alloy.SaasShield, legacy: alloy.SaasShield) -> None:
    for form, session in [(Format.V5, shield), (Format.V3, legacy)]:
        ours = await documents.aencrypt(DOCUMENT, A, format=form)
        theirs = await session.standard().encrypt(DOCUMENT, metadata("a"))
        assert {n: len(v) for n, v in ours.fields.items()} == {n: len(v) for n, v in theirs.document.items()}
        assert len(ours.edek) == len(theirs.edek)


@pytest.mark.parametrize("form", list(Format))
async def test_alloy_adds_fields_under_our_edek_and_we_under_alloys(shield: alloy.SaasShield, form: Format) -> None:
    ours = await documents.aencrypt({"f": b"x"}, A, format=form)
    plain = alloy.PlaintextDocumentWithEdek(edek=ours.edek, document={"g": b"y"})
    more = await shield.standard().encrypt_with_existing_edek(plain, metadata("a"))
    merged = EncryptedDocument(more.edek, {**ours.fields, **more.document})
    assert await documents.adecrypt(merged, A) == {"f": b"x", "g": b"y"}
    again = await documents.aencrypt({"h": b"z"}, A, edek=more.edek)
    assert await shield.standard().decrypt(to_alloy(again), metadata("a")) == {"h": b"z"}


async def test_batches_cross_both_ways(shield: alloy.SaasShield) -> None:
    plain = {f"döc {number}": {"f": str(number).encode()} for number in range(30)}
    ours = await documents.aencrypt_batch(plain, A)
    opened = await shield.standard().decrypt_batch(
        {name: to_alloy(sealed) for name, sealed in ours.items() if isinstance(sealed, EncryptedDocument)},
        metadata("a"),
    )
    assert (opened.successes, opened.failures) == (plain, {})
    theirs = await shield.standard().encrypt_batch(plain, metadata("a"))
    assert (
        await documents.adecrypt_batch({name: from_alloy(sealed) for name, sealed in theirs.successes.items()}, A)
        == plain
    )


async def test_attached_documents_cross_both_ways(shield: alloy.SaasShield) -> None:
    attached = shield.standard_attached()
    for data in [b"attached", b"", LONG]:
        assert await attached.decrypt(await documents.attached.aencrypt(data, A), metadata("a")) == data
        assert await documents.attached.adecrypt(await attached.encrypt(data, metadata("a")), A) == data
    batch = await documents.attached.aencrypt_batch({"1": b"x", "2": b"y"}, A)
    opened = await attached.decrypt_batch({n: v for n, v in batch.items() if isinstance(v, bytes)}, metadata("a"))
    assert opened.successes == {"1": b"x", "2": b"y"}


@pytest.mark.parametrize("form", list(Format))
async def test_alloy_opens_our_streams(shield: alloy.SaasShield, form: Format) -> None:
    target = io.BytesIO()
    edek = await documents.aencrypt_stream(io.BytesIO(LONG), target, A, format=form)
    sealed = alloy.EncryptedDocument(edek=edek, document={"f": target.getvalue()})
    assert await shield.standard().decrypt(sealed, metadata("a")) == {"f": LONG}
    if form is Format.V5:
        reading = await shield.standard().create_streaming_decryptor(edek, metadata("a"))
        assert reading.decrypt_chunk(target.getvalue()) + reading.finish() == LONG


async def test_we_open_alloys_streams(shield: alloy.SaasShield) -> None:
    writing = await shield.standard().create_streaming_encryptor(metadata("a"))
    sealed = writing.encrypt_chunk(LONG[:1000]) + writing.encrypt_chunk(LONG[1000:]) + writing.finish()
    target = io.BytesIO()
    assert await documents.adecrypt_stream(io.BytesIO(sealed), target, writing.edek(), A) == len(LONG)
    assert target.getvalue() == LONG


async def test_attached_streams_cross_both_ways(shield: alloy.SaasShield) -> None:
    ours, opened = io.BytesIO(), io.BytesIO()
    await documents.attached.aencrypt_stream(io.BytesIO(LONG), ours, A)
    reading = await shield.standard_attached().create_streaming_attached_decryptor(metadata("a"))
    assert await reading.decrypt_chunk(ours.getvalue()) + await reading.finish() == LONG
    writing = await shield.standard_attached().create_streaming_attached_encryptor(metadata("a"))
    theirs = writing.encrypt_chunk(LONG) + writing.finish()
    assert await documents.attached.adecrypt_stream(io.BytesIO(theirs), opened, A) == len(LONG)
    assert opened.getvalue() == LONG


@pytest.mark.parametrize("tenant", [None, "b"])
async def test_rekeyed_documents_cross_both_ways(shield: alloy.SaasShield, tenant: str | None) -> None:
    about, theirs = (B, metadata("b")) if tenant else (A, metadata("a"))
    standard = shield.standard()
    ours = await documents.arekey(await documents.aencrypt(DOCUMENT, A), A, tenant)
    assert await standard.decrypt(to_alloy(ours), theirs) == DOCUMENT
    assert await documents.adecrypt(ours, about) == DOCUMENT
    sealed = await documents.aencrypt(DOCUMENT, A)
    moved = await standard.rekey_edeks({"1": sealed.edek}, metadata("a"), tenant)
    assert await documents.adecrypt(EncryptedDocument(moved.successes["1"], sealed.fields), about) == DOCUMENT
    blob = await documents.attached.arekey(await documents.attached.aencrypt(b"x", A), A, tenant)
    assert await shield.standard_attached().decrypt(blob, theirs) == b"x"
    if tenant:
        with pytest.raises(alloy.AlloyError.TspError):
            await standard.decrypt(to_alloy(ours), metadata("a"))
        with pytest.raises(InvalidCiphertext):
            await documents.adecrypt(ours, A)


async def test_v3_fields_that_alloy_moved_name_their_former_tenant(shield: alloy.SaasShield) -> None:
    """alloy's rekey does not touch the fields, so their headers stay signed for the old tenant; ours signs anew."""
    sealed = await documents.aencrypt(DOCUMENT, A, format=Format.V3)
    moved = await shield.standard().rekey_edeks({"1": sealed.edek}, metadata("a"), "b")
    document = EncryptedDocument(moved.successes["1"], sealed.fields)
    with pytest.raises(InvalidCiphertext):
        await documents.adecrypt(document, B)
    assert await documents.adecrypt(document, B, trust=Trust(former_tenants=["a"])) == DOCUMENT
    ours = await documents.arekey(sealed, A, "b")
    assert await documents.adecrypt(ours, B) == DOCUMENT
    assert await shield.standard().decrypt(to_alloy(ours), metadata("b")) == DOCUMENT


async def test_deterministic_fields_are_the_same_bytes(shield: alloy.SaasShield) -> None:
    path = Path("mail", "clinic")
    plain = alloy.PlaintextField(plaintext_field=b"jim@x.org", secret_path="mail", derivation_path="clinic")
    theirs = await shield.deterministic().encrypt(plain, metadata("a"))
    ours = await deterministic.aencrypt(b"jim@x.org", path, A)
    assert ours == theirs.encrypted_field
    assert await deterministic.adecrypt(theirs.encrypted_field, path, A) == b"jim@x.org"
    assert await deterministic.asearch_terms(b"jim@x.org", path, A) == [ours]
    assert await deterministic.arotate(ours, path, A) == ours
    empty = alloy.PlaintextField(plaintext_field=b"", secret_path="mail", derivation_path="clinic")
    sealed = await shield.deterministic().encrypt(empty, metadata("a"))
    assert await deterministic.aencrypt(b"", path, A) == sealed.encrypted_field
