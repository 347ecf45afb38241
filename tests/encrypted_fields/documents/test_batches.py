"""Many documents: one call for each 1,000, and the failure of one is its own."""

from __future__ import annotations

import mmap

import pytest

from encrypted_fields import documents
from encrypted_fields.core.errors import InvalidCiphertext, KmsRefused, KmsThrottled, KmsUnwrapFailed
from encrypted_fields.core.protocol import BadReply
from encrypted_fields.documents import EncryptedDocument, attached
from tests.encrypted_fields.documents.conftest import FORMATS, A, B
from tests.encrypted_fields.documents.memory import Keys

every_format = pytest.mark.parametrize("form", FORMATS)


def plain(count: int) -> dict[str, dict[str, bytes]]:
    return {f"döc {number}": {"f": str(number).encode()} for number in range(count)}


def sealed(count: int, form: documents.Format = documents.Format.V5) -> dict[str, EncryptedDocument]:
    found = documents.encrypt_batch(plain(count), A, format=form)
    return {name: one for name, one in found.items() if isinstance(one, EncryptedDocument)}


@every_format
def test_a_batch_costs_one_call_for_each_thousand(keys: Keys, form: documents.Format) -> None:
    found = sealed(1001, form)
    assert documents.decrypt_batch(found, A) == plain(1001)
    assert keys.calls == [("batch_wrap", 1000), ("batch_wrap", 1), ("batch_unwrap", 1000), ("batch_unwrap", 1)]
    assert len({one.edek for one in found.values()}) == 1001


def test_an_empty_batch_costs_nothing(keys: Keys) -> None:
    assert documents.encrypt_batch({}, A) == documents.decrypt_batch({}, A) == {}
    assert keys.calls == []


def test_a_failed_key_is_the_failure_of_its_document(keys: Keys) -> None:
    keys.failing = {1: KmsThrottled()}
    found = documents.encrypt_batch(plain(3), A)
    assert [type(one) for one in found.values()] == [EncryptedDocument, KmsThrottled, EncryptedDocument]
    keys.failing = {}
    good = sealed(3)
    keys.failing = {0: KmsRefused()}
    opened = documents.decrypt_batch(good, A)
    assert [type(one) for one in opened.values()] == [KmsRefused, dict, dict]


def test_every_kind_of_bad_document_leaves_the_others_alone(keys: Keys) -> None:
    good = sealed(1)["döc 0"]
    foreign = documents.encrypt({"f": b"x"}, B)
    value = bytearray(good.fields["f"])
    value[-1] ^= 1
    signed = bytearray(good.edek)
    signed[12] ^= 1  # within the header's signature
    bad = {
        "no edek": EncryptedDocument(b"", good.fields),
        "no field": EncryptedDocument(good.edek, {"f": b"clear"}),
        "foreign": foreign,
        "damaged": EncryptedDocument(good.edek, {"f": bytes(value)}),
        "signature": EncryptedDocument(bytes(signed), good.fields),
        "spliced": EncryptedDocument(sealed(1)["döc 0"].edek, good.fields),
    }
    found = documents.decrypt_batch({**bad, "good": good}, A)
    assert found.pop("good") == {"f": b"0"}
    assert {name: type(one) for name, one in found.items()} == dict.fromkeys(bad, InvalidCiphertext)
    assert list(found) == list(bad)


def test_errors_of_a_batch_carry_no_frames(keys: Keys) -> None:
    """Frames would keep keys and plaintext alive with the error."""
    good = sealed(1)["döc 0"]
    bad = EncryptedDocument(good.edek, {"f": good.fields["f"], "g": bytes(good.fields["f"])[:-1] + b"\0"})
    (error,) = documents.decrypt_batch({"bad": bad}, A).values()
    assert isinstance(error, InvalidCiphertext)
    assert error.__traceback__ is error.__context__ is error.__cause__ is None


def test_a_bare_edek_of_another_tenant_fails_alone(keys: Keys) -> None:
    foreign = documents.encrypt({}, B, format=documents.Format.V3)
    found = documents.decrypt_batch({"foreign": foreign, **sealed(1)}, A)
    assert isinstance(found["foreign"], KmsUnwrapFailed)
    assert found["döc 0"] == {"f": b"0"}


def test_a_sealed_value_fails_alone_and_gets_no_key(keys: Keys) -> None:
    twice = {"again": dict(sealed(1)["döc 0"].fields)}
    keys.calls.clear()
    found = documents.encrypt_batch({**twice, **plain(1)}, A)
    assert isinstance(found["again"], documents.AlreadyEncrypted)
    assert isinstance(found["döc 0"], EncryptedDocument)
    assert keys.calls == [("batch_wrap", 1)]


@every_format
def test_documents_with_an_edek_keep_their_key(keys: Keys, form: documents.Format) -> None:
    first = documents.encrypt({"f": b"x"}, A, format=form)
    found = documents.encrypt_batch(
        {"old": {"g": b"y"}, "new": {"h": b"z"}, "bad": {}}, A, edeks={"old": first.edek, "bad": b"no edek"}
    )
    old, new = found["old"], found["new"]
    assert isinstance(old, EncryptedDocument)
    assert isinstance(new, EncryptedDocument)
    assert old.edek == first.edek
    merged = EncryptedDocument(first.edek, {**first.fields, **old.fields})
    assert documents.decrypt(merged, A) == {"f": b"x", "g": b"y"}
    assert documents.decrypt(new, A) == {"h": b"z"}
    assert isinstance(found["bad"], InvalidCiphertext)


def test_a_failure_of_the_whole_request_is_raised(keys: Keys) -> None:
    found = sealed(2)
    keys.revoked.add("a")
    with pytest.raises(KmsRefused):
        documents.encrypt_batch(plain(2), A)
    assert {type(one) for one in documents.decrypt_batch(found, A).values()} == {KmsRefused}


def test_keys_are_wiped_also_when_a_batch_stops_half_way(keys: Keys) -> None:
    """What stops it is no failure of one document; that all keys are wiped the fixture checks."""
    with mmap.mmap(-1, 2**31) as huge, memoryview(huge) as view:
        huge[:5] = b"\x00IRON"
        first, second = sealed(2).values()
        with pytest.raises(ValueError, match="stream"):
            documents.decrypt_batch({"1": EncryptedDocument(first.edek, {"f": view}), "2": second}, A)
    keys.config = 0
    with pytest.raises(BadReply):
        documents.encrypt_batch(plain(2), A)


def test_attached_batches_are_the_same(keys: Keys) -> None:
    made = attached.encrypt_batch({"1": b"x", "2": b"", "again": attached.encrypt(b"x", A)}, A)
    assert isinstance(made.pop("again"), documents.AlreadyEncrypted)
    blobs = {name: one for name, one in made.items() if isinstance(one, bytes)}
    found = attached.decrypt_batch({**blobs, "bad": b"clear", "foreign": attached.encrypt(b"y", B)}, A)
    assert (found.pop("1"), found.pop("2")) == (b"x", b"")
    assert {name: type(one) for name, one in found.items()} == {"bad": InvalidCiphertext, "foreign": InvalidCiphertext}
