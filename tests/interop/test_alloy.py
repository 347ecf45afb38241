"""ironcore-alloy (Python over Rust) works against our proxy unchanged."""

from __future__ import annotations

import base64

import ironcore_alloy as alloy
import pytest

from tests.interop.clients import metadata, saas_shield
from tests.interop.conftest import eventually
from tests.support.sandbox import Sandbox

DOCUMENT = {"name": b"Jim Bridger", "note": "Ärztlich ✓".encode(), "empty": b""}
NOT_EDEKS = [b"edek", bytes(range(200, 232)), base64.b64decode("d2hhdCBhIHdhc3RlIG9mIHRpbWUK")]


@pytest.fixture
async def standard(proxy: Sandbox) -> alloy.SaasShieldStandardClient:
    return saas_shield(proxy.url, proxy.api_key).standard()


@pytest.mark.parametrize("tenant", ["a", "b"])
async def test_decrypts_what_it_encrypted(standard: alloy.SaasShieldStandardClient, tenant: str) -> None:
    sealed = await standard.encrypt(DOCUMENT, metadata(tenant))
    assert set(sealed.document) == set(DOCUMENT)
    assert sealed.document["name"] != DOCUMENT["name"]
    assert await standard.decrypt(sealed, metadata(tenant)) == DOCUMENT


async def test_metadata_with_nothing_but_the_tenant_is_enough(standard: alloy.SaasShieldStandardClient) -> None:
    """Rule 12: the optional members arrive as null."""
    simple = alloy.AlloyMetadata.new_simple("a")
    assert await standard.decrypt(await standard.encrypt(DOCUMENT, simple), simple) == DOCUMENT


async def test_batches_round_trip(standard: alloy.SaasShieldStandardClient) -> None:
    documents = {f"döc {number}": {"f": str(number).encode()} for number in range(100)}
    sealed = await standard.encrypt_batch(documents, metadata())
    assert sealed.failures == {}
    assert len({found.edek for found in sealed.successes.values()}) == 100
    opened = await standard.decrypt_batch(sealed.successes, metadata())
    assert (opened.successes, opened.failures) == (documents, {})


async def test_an_empty_batch_is_empty(standard: alloy.SaasShieldStandardClient) -> None:
    assert (await standard.encrypt_batch({}, metadata())).successes == {}
    assert (await standard.decrypt_batch({}, metadata())).successes == {}


async def test_one_bad_edek_does_not_spoil_a_batch(standard: alloy.SaasShieldStandardClient) -> None:
    good = await standard.encrypt(DOCUMENT, metadata())
    bad = alloy.EncryptedDocument(edek=NOT_EDEKS[1], document=good.document)
    found = await standard.decrypt_batch({"good": good, "bad": bad}, metadata())
    assert found.successes == {"good": DOCUMENT}
    assert set(found.failures) == {"bad"}


async def test_encrypts_with_an_existing_edek(standard: alloy.SaasShieldStandardClient) -> None:
    first = await standard.encrypt(DOCUMENT, metadata())
    again = alloy.PlaintextDocumentWithEdek(edek=first.edek, document={"late": b"more"})
    later = await standard.encrypt_with_existing_edek(again, metadata())
    assert later.edek == first.edek
    merged = alloy.EncryptedDocument(edek=first.edek, document={**first.document, **later.document})
    assert await standard.decrypt(merged, metadata()) == {**DOCUMENT, "late": b"more"}
    batch = await standard.encrypt_with_existing_edek_batch({"1": again, "2": again}, metadata())
    assert set(batch.successes) == {"1", "2"}


async def test_streams_open_as_documents(standard: alloy.SaasShieldStandardClient) -> None:
    writing = await standard.create_streaming_encryptor(metadata())
    data = b"".join([writing.encrypt_chunk(b"one "), writing.encrypt_chunk(b"two"), writing.finish()])
    document = alloy.EncryptedDocument(edek=writing.edek(), document={"f": data})
    assert await standard.decrypt(document, metadata()) == {"f": b"one two"}


async def test_attached_documents_round_trip(proxy: Sandbox) -> None:
    attached = saas_shield(proxy.url, proxy.api_key).standard_attached()
    sealed = await attached.encrypt(b"attached", metadata())
    assert await attached.decrypt(sealed, metadata()) == b"attached"
    batch = await attached.encrypt_batch({"1": b"x", "2": b"y"}, metadata())
    assert (await attached.decrypt_batch(batch.successes, metadata())).successes == {"1": b"x", "2": b"y"}


async def test_the_searchable_prefix_is_the_configuration_number(standard: alloy.SaasShieldStandardClient) -> None:
    """Rule 4: the number becomes a 4-byte prefix, so it is stable and not 0."""
    edeks = [(await standard.encrypt(DOCUMENT, metadata())).edek for _ in range(2)]
    number = int.from_bytes(edeks[0][:4], "big")
    assert number > 0
    assert edeks[0][:6] == edeks[1][:6] == standard.get_searchable_edek_prefix(number)


async def test_rekeys_to_the_same_and_to_another_tenant(standard: alloy.SaasShieldStandardClient) -> None:
    sealed = await standard.encrypt(DOCUMENT, metadata())
    same = await standard.rekey_edeks({"1": sealed.edek}, metadata(), None)
    moved = await standard.rekey_edeks({"1": sealed.edek}, metadata(), "b")
    assert same.failures == moved.failures == {}
    assert same.successes["1"] != sealed.edek
    for edek, tenant in [(sealed.edek, "a"), (same.successes["1"], "a"), (moved.successes["1"], "b")]:
        document = alloy.EncryptedDocument(edek=edek, document=sealed.document)
        assert await standard.decrypt(document, metadata(tenant)) == DOCUMENT
    foreign = alloy.EncryptedDocument(edek=moved.successes["1"], document=sealed.document)
    with pytest.raises(alloy.AlloyError.TspError) as caught:
        await standard.decrypt(foreign, metadata("a"))
    assert 200 <= caught.value.tsp_code < 300


async def test_three_hundred_parallel_rekeys_are_answered(standard: alloy.SaasShieldStandardClient) -> None:
    """alloy sends one request a document, all at once."""
    sealed = await standard.encrypt_batch({str(n): {"f": b"x"} for n in range(300)}, metadata())
    found = await standard.rekey_edeks({n: doc.edek for n, doc in sealed.successes.items()}, metadata(), None)
    assert len(found.successes) == 300


@pytest.mark.parametrize("data", NOT_EDEKS)
async def test_bytes_that_are_no_edek_are_203(standard: alloy.SaasShieldStandardClient, data: bytes) -> None:
    with pytest.raises(alloy.AlloyError.TspError) as caught:
        await standard.decrypt(alloy.EncryptedDocument(edek=data, document={}), metadata())
    assert (caught.value.tsp_code, caught.value.error.error) == (203, alloy.KmsError.INVALID_PROVIDED_EDEK)


async def test_an_unknown_tenant_is_201(standard: alloy.SaasShieldStandardClient) -> None:
    with pytest.raises(alloy.AlloyError.TspError) as caught:
        await standard.encrypt(DOCUMENT, metadata("nobody"))
    assert caught.value.tsp_code == 201
    assert caught.value.error.error is alloy.KmsError.UNKNOWN_TENANT_OR_NO_ACTIVE_KMS_CONFIGURATIONS


async def test_another_tenants_edek_is_refused(standard: alloy.SaasShieldStandardClient) -> None:
    sealed = await standard.encrypt(DOCUMENT, metadata("a"))
    with pytest.raises(alloy.AlloyError.TspError) as caught:
        await standard.decrypt(sealed, metadata("b"))
    assert caught.value.tsp_code == 202


async def test_a_wrong_key_is_101(proxy: Sandbox) -> None:
    standard = saas_shield(proxy.url, base64.b64encode(bytes(32)).decode()).standard()
    with pytest.raises(alloy.AlloyError.TspError) as caught:
        await standard.encrypt(DOCUMENT, metadata())
    assert (caught.value.tsp_code, caught.value.http_code) == (101, 401)
    assert caught.value.error.error is alloy.ServiceError.UNAUTHORIZED_REQUEST


async def test_security_events_are_accepted_and_recorded(
    proxy: Sandbox, standard: alloy.SaasShieldStandardClient
) -> None:
    """Rules 7 and 8: the name beside iclFields, the answer the four bytes null."""
    await standard.log_security_event(alloy.SecurityEvent.USER(alloy.UserEvent.LOGIN), metadata(), 1_700_000_000_123)
    custom = alloy.SecurityEvent.CUSTOM(alloy.CustomEvent(event_name="ALLOY_TEST"))
    await standard.log_security_event(custom, metadata(), None)
    wanted = {"USER_LOGIN", "CUSTOM_ALLOY_TEST"}
    eventually(lambda: wanted <= {event["action"] for event in proxy.events()})


async def test_deterministic_fields_round_trip_and_compare_equal(proxy: Sandbox) -> None:
    fields = saas_shield(proxy.url, proxy.api_key).deterministic()
    plain = alloy.PlaintextField(plaintext_field=b"jim@x.org", secret_path="mail", derivation_path="clinic")
    one, two = await fields.encrypt(plain, metadata()), await fields.encrypt(plain, metadata())
    assert one.encrypted_field == two.encrypted_field
    assert await fields.decrypt(one, metadata()) == plain
    other = await fields.encrypt(plain, metadata("b"))
    assert other.encrypted_field != one.encrypted_field
    elsewhere = alloy.PlaintextField(plaintext_field=b"jim@x.org", secret_path="mail", derivation_path="shop")
    assert (await fields.encrypt(elsewhere, metadata())).encrypted_field[6:] != one.encrypted_field[6:]
    terms = await fields.generate_query_field_values({"q": plain}, metadata())
    assert [term.encrypted_field for term in terms["q"]] == [one.encrypted_field]
    rotated = await fields.rotate_fields({"r": one}, metadata(), "b")
    assert rotated.successes["r"].encrypted_field == other.encrypted_field


async def test_vectors_round_trip_under_their_own_secret(proxy: Sandbox) -> None:
    vectors = saas_shield(proxy.url, proxy.api_key).vector()
    plain = alloy.PlaintextVector(plaintext_vector=[1.0, 2.0, 3.0], secret_path="mail", derivation_path="clinic")
    sealed = await vectors.encrypt(plain, metadata())
    opened = await vectors.decrypt(sealed, metadata())
    assert [round(part, 3) for part in opened.plaintext_vector] == [1.0, 2.0, 3.0]
