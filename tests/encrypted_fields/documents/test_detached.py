"""Maps of fields: what opens, what is refused, and what each costs."""

from __future__ import annotations

import pytest

from encrypted_fields import documents
from encrypted_fields.core.errors import CmkError, InvalidCiphertext, KmsError, KmsRefused
from encrypted_fields.core.protocol import BadReply
from encrypted_fields.documents import EncryptedDocument, Format, Trust, v3, v5
from encrypted_fields.documents.key import DocumentKey
from tests.encrypted_fields.core.draw import flipped
from tests.encrypted_fields.documents.conftest import DOCUMENT, FORMATS, A, B
from tests.encrypted_fields.documents.memory import CONFIG, Keys

every_format = pytest.mark.parametrize("form", FORMATS)


@every_format
def test_opens_what_it_sealed_in_one_call_each(keys: Keys, form: Format) -> None:
    sealed = documents.encrypt(DOCUMENT, A, format=form)
    assert documents.decrypt(sealed, A) == DOCUMENT
    assert keys.calls == [("wrap", 1), ("unwrap", 1)]


def test_writes_v5_unless_told(keys: Keys) -> None:
    sealed = documents.encrypt({"f": b"x"}, A)
    assert sealed.edek[:6] == CONFIG.to_bytes(4, "big") + b"\x02\x00"
    assert bytes(sealed.fields["f"])[:5] == b"\x00IRON"
    assert len(sealed.fields["f"]) == 33 + 1


def test_a_v3_document_keeps_the_edek_as_the_proxy_gave_it(keys: Keys) -> None:
    sealed = documents.encrypt({"f": b"x"}, A, format=Format.V3)
    assert documents.edeks.read(sealed.edek).sent == sealed.edek
    assert bytes(sealed.fields["f"])[:5] == b"\x03IRON"


@every_format
def test_equal_fields_look_different(keys: Keys, form: Format) -> None:
    sealed = documents.encrypt({"one": b"same", "two": b"same"}, A, format=form)
    assert sealed.fields["one"] != sealed.fields["two"]
    assert b"same" not in sealed.fields["one"]


@every_format
def test_takes_and_gives_any_buffer(keys: Keys, form: Format) -> None:
    sealed = documents.encrypt({"f": bytearray(b"x"), "g": memoryview(b"y")}, A, format=form)
    stored = EncryptedDocument(sealed.edek, {name: memoryview(value) for name, value in sealed.fields.items()})
    assert documents.decrypt(stored, A) == {"f": b"x", "g": b"y"}


@every_format
def test_a_document_without_fields_is_one(keys: Keys, form: Format) -> None:
    assert documents.decrypt(documents.encrypt({}, A, format=form), A) == {}


@every_format
def test_more_fields_can_be_sealed_under_an_existing_edek(keys: Keys, form: Format) -> None:
    first = documents.encrypt({"f": b"x"}, A, format=form)
    more = documents.encrypt({"g": b"y"}, A, edek=first.edek)
    assert more.edek == first.edek
    merged = EncryptedDocument(first.edek, {**first.fields, **more.fields})
    assert documents.decrypt(merged, A) == {"f": b"x", "g": b"y"}


def test_an_existing_edek_keeps_its_format(keys: Keys) -> None:
    first = documents.encrypt({}, A, format=Format.V3)
    with pytest.raises(ValueError, match="format"):
        documents.encrypt({"f": b"x"}, A, edek=first.edek, format=Format.V5)


def test_another_tenants_edek_is_not_written_under(keys: Keys) -> None:
    foreign = documents.encrypt({}, B)
    keys.calls.clear()
    with pytest.raises(InvalidCiphertext):
        documents.encrypt({"f": b"x"}, A, edek=foreign.edek)
    found = documents.encrypt_batch({"1": {"f": b"x"}}, A, edeks={"1": foreign.edek})
    assert isinstance(found["1"], InvalidCiphertext)
    assert keys.calls == []


@every_format
def test_refuses_another_tenant_without_asking_for_the_key(keys: Keys, form: Format) -> None:
    sealed = documents.encrypt(DOCUMENT, A, format=form)
    with pytest.raises(InvalidCiphertext):
        documents.decrypt(sealed, B)
    assert keys.calls == [("wrap", 1)]


def test_a_bare_edek_of_another_tenant_is_refused_by_the_proxy(keys: Keys) -> None:
    sealed = documents.encrypt({}, A, format=Format.V3)
    with pytest.raises(KmsError):
        documents.decrypt(sealed, B)


@every_format
def test_a_flipped_bit_anywhere_in_a_field_is_refused(keys: Keys, form: Format) -> None:
    sealed = documents.encrypt({"f": b"x"}, A, format=form)
    for damaged in flipped(bytes(sealed.fields["f"])):
        with pytest.raises(InvalidCiphertext):
            documents.decrypt(EncryptedDocument(sealed.edek, {"f": damaged}), A)


@every_format
def test_a_flipped_bit_anywhere_in_an_edek_is_refused(keys: Keys, form: Format) -> None:
    """Only the proxy can see damage inside its own wrapped key: it answers with an error of its kind."""
    sealed = documents.encrypt({"f": b"x"}, A, format=form)
    inside = documents.edeks.read(sealed.edek).sent
    if form is Format.V3:  # nothing but the proxy's bytes, whose configuration number this proxy does not bind
        inside = inside[: inside.rindex(b"\x10")]
    start = sealed.edek.index(inside[4:64])  # the wrapped key itself, two bytes after its own tag and length
    for number, damaged in enumerate(flipped(sealed.edek)):
        if form is Format.V3 and number // 8 >= len(inside):
            continue
        wanted = CmkError if start - 2 <= number // 8 < start + 64 or form is Format.V3 else InvalidCiphertext
        with pytest.raises(wanted):
            documents.decrypt(EncryptedDocument(damaged, sealed.fields), A)


@every_format
def test_every_cut_is_refused(keys: Keys, form: Format) -> None:
    sealed = documents.encrypt({"f": b"x"}, A, format=form)
    for size in range(len(sealed.fields["f"])):
        with pytest.raises(InvalidCiphertext):
            documents.decrypt(EncryptedDocument(sealed.edek, {"f": sealed.fields["f"][:size]}), A)
    for size in range(len(sealed.edek)):
        with pytest.raises(CmkError):
            documents.decrypt(EncryptedDocument(sealed.edek[:size], sealed.fields), A)


@every_format
def test_one_bad_field_spoils_the_document(keys: Keys, form: Format) -> None:
    sealed = documents.encrypt({"f": b"x", "g": b"y"}, A, format=form)
    other = documents.encrypt({"g": b"y"}, A, format=form)
    with pytest.raises(InvalidCiphertext):
        documents.decrypt(EncryptedDocument(sealed.edek, {**sealed.fields, **other.fields}), A)


@every_format
@pytest.mark.parametrize("sealed_as", FORMATS)
def test_refuses_to_seal_twice_and_asks_for_no_key(keys: Keys, form: Format, sealed_as: Format) -> None:
    value = documents.encrypt({"f": b"x"}, A, format=sealed_as).fields["f"]
    keys.calls.clear()
    with pytest.raises(documents.AlreadyEncrypted) as caught:
        documents.encrypt({"f": value}, A, format=form)
    assert caught.value.code == 901
    assert keys.calls == []


def test_short_text_that_starts_like_a_document_is_no_document(keys: Keys) -> None:
    texts = {"f": b"\x03IRON", "g": b"\x00IRON and more"}
    assert documents.decrypt(documents.encrypt(texts, A), A) == texts


@pytest.mark.parametrize("fields", [{"f": "text"}, {1: b"x"}, {"f": None}])
def test_values_that_are_not_bytes_are_a_mistake(keys: Keys, fields: object) -> None:
    with pytest.raises(TypeError):
        documents.encrypt(fields, A)  # type: ignore[arg-type]
    assert keys.calls == []


def test_metadata_without_a_tenant_is_a_mistake(keys: Keys) -> None:
    with pytest.raises(ValueError, match="tenant"):
        documents.encrypt({}, documents.Metadata("", "user-1"))


def test_a_withdrawn_key_opens_nothing(keys: Keys) -> None:
    sealed = documents.encrypt(DOCUMENT, A)
    keys.revoked.add("a")
    with pytest.raises(KmsRefused):
        documents.decrypt(sealed, A)


def test_an_edek_that_could_never_be_found_again_is_refused(keys: Keys) -> None:
    """Configuration number 0: alloy encrypts under it and can then not decrypt (wire API, rule 4)."""
    sealed = [documents.encrypt({"f": b"x"}, A, format=form) for form in FORMATS]
    keys.config = 0
    for form, good in zip(FORMATS, sealed, strict=True):
        with pytest.raises(BadReply):
            documents.encrypt({"f": b"x"}, A, format=form)
        with pytest.raises(BadReply):
            documents.rekey(good, A)


def unsigned(key: DocumentKey, value: bytes) -> bytes:
    return v3.MAGIC + bytes(2) + key.seal(value)


@pytest.fixture
def old(keys: Keys) -> EncryptedDocument:
    """As clients wrote before fields had headers: the magic and a header of no bytes."""
    wrapped = keys.wrap(A)
    with DocumentKey(wrapped.dek) as key:
        return EncryptedDocument(wrapped.edek, {"f": unsigned(key, b"old")})


def test_unsigned_fields_are_refused_unless_trusted(keys: Keys, old: EncryptedDocument) -> None:
    with pytest.raises(InvalidCiphertext):
        documents.decrypt(old, A)
    assert documents.decrypt(old, A, trust=Trust(unsigned=True)) == {"f": b"old"}


def test_a_signature_is_verified_also_where_unsigned_fields_are_trusted(keys: Keys) -> None:
    sealed = documents.encrypt({"f": b"x"}, A, format=Format.V3)
    value = bytearray(sealed.fields["f"])
    value[20] ^= 1  # within the signature
    with pytest.raises(InvalidCiphertext):
        documents.decrypt(EncryptedDocument(sealed.edek, {"f": bytes(value)}), A, trust=Trust(unsigned=True))


def test_the_two_formats_may_stand_in_one_document(keys: Keys) -> None:
    """alloy's rekey leaves V3 fields under a V5 EDEK."""
    three = documents.encrypt({"f": b"x"}, A, format=Format.V3)
    wrapped = keys.unwrap(A, three.edek)
    with DocumentKey(wrapped) as key:
        five = b"".join(v5.make(three.edek, "a", key))
        fields = {**three.fields, "g": v5.MAGIC + key.seal(b"y")}
    assert documents.decrypt(EncryptedDocument(five, fields), A) == {"f": b"x", "g": b"y"}


def test_nothing_prints_or_pickles_a_key(keys: Keys) -> None:
    with DocumentKey(bytearray(32)) as key:
        assert repr(key) == "<DocumentKey>"
        with pytest.raises(TypeError):
            key.__reduce__()
    assert repr(documents.encrypt({"f": b"x"}, A)) == "<EncryptedDocument of 1 fields>"
