"""The wire's words, as the library reads them: a reply is of the wire API, or it is a BadReply that quotes nothing."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core import protocol
from encrypted_fields.core.errors import CmkError, KmsRefused, Unauthorized
from encrypted_fields.core.protocol import BadReply, Metadata
from tests.encrypted_fields.core.draw import often

DEK = base64.b64encode(bytes(range(32))).decode()
EDEK = base64.b64encode(b"edek").decode()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
replies = json_values | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("dek", "edek", "keys", "failures", "code", "message"), json_values)
)


def test_a_request_says_who_and_for_which_tenant() -> None:
    body = protocol.batch_wrap_body(Metadata("t", "me", data_label="PII", custom={"a": "b"}), iter(["1", "2"]))
    assert body == {
        "tenantId": "t",
        "iclFields": {"requestingId": "me", "dataLabel": "PII"},
        "customFields": {"a": "b"},
        "documentIds": ["1", "2"],
    }
    assert protocol.rekey_body(Metadata("t", "me"), b"edek", "u")["newTenantId"] == "u"
    assert protocol.batch_unwrap_body(Metadata("t", "me"), {"1": b"edek"})["edeks"] == {"1": EDEK}
    json.dumps(body)


@often
@given(st.binary(min_size=1, max_size=100))
def test_base64_round_trips(data: bytes) -> None:
    assert protocol.decode(protocol.encode(data), most=100) == data


@often
@given(st.text(max_size=60))
def test_only_canonical_base64_is_read(text: str) -> None:
    """Anything that is not exactly what `encode` writes is refused: no padding games, no other alphabet, no newline."""
    try:
        data = protocol.decode(text, most=40)
    except BadReply:
        return
    assert protocol.encode(data) == text


@pytest.mark.parametrize(
    "text", ["", "QQ", "QQ==\n", " QQ==", "QR==", "Q===", "-_-_", "QQ==QQ==", "QÄ==", "A" * 60, "\ud800QQ="]
)
def test_refuses_other_base64(text: str) -> None:
    with pytest.raises(BadReply):
        protocol.decode(text, most=40)


@often
@given(replies)
def test_any_reply_raises_nothing_but_bad_reply(reply: object) -> None:
    for read in (protocol.wrapped, protocol.dek, lambda found: protocol.batch(found, ["1"])):
        with contextlib.suppress(BadReply):
            read(reply)
    assert isinstance(protocol.error(reply), CmkError)


def test_reads_a_wrap_reply_into_wipeable_bytes() -> None:
    found = protocol.wrapped({"dek": DEK, "edek": EDEK, "later": 1})
    assert isinstance(found.dek, bytearray)
    assert (found.dek, found.edek) == (bytes(range(32)), b"edek")


def test_nothing_is_sealed_with_a_key_of_zeros() -> None:
    """A proxy that wiped a key before it answered; what is sealed with one already can still be opened."""
    reply = {"dek": base64.b64encode(bytes(32)).decode(), "edek": EDEK}
    with pytest.raises(BadReply):
        protocol.wrapped(reply)
    assert protocol.dek(reply) == bytes(32)


def test_a_bad_reply_is_never_quoted() -> None:
    """It may hold a key."""
    with pytest.raises(BadReply) as caught:
        protocol.wrapped({"dek": DEK, "edek": "not base64"})
    assert str(caught.value) == BadReply.default


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_is_exactly_32_bytes(size: int) -> None:
    """Rule 3; a 16-byte DEK would quietly mean AES-128."""
    with pytest.raises(BadReply):
        protocol.dek({"dek": base64.b64encode(bytes(size)).decode()})


@pytest.mark.parametrize(
    ("keys", "failures"),
    [
        pytest.param({"1": {}}, {}, id="one is dropped"),
        pytest.param({"1": {}, "2": {}, "3": {}}, {}, id="one was not asked for"),
        pytest.param({"1": {}, "2": {}}, {"2": {}}, id="one is in both"),
        pytest.param({"1": {}, "2": {}}, None, id="failures is missing"),
        pytest.param(None, {"1": {}, "2": {}}, id="keys is missing"),
        pytest.param([], {}, id="keys is a list"),
    ],
)
def test_a_batch_answers_each_id_exactly_once(keys: object, failures: object) -> None:
    """Rule 6."""
    with pytest.raises(BadReply):
        protocol.batch({"keys": keys, "failures": failures}, ["1", "2"])


def test_a_batch_tells_the_error_of_each_id() -> None:
    keys, failures = protocol.batch(
        {"keys": {"1": {"dek": DEK}}, "failures": {"2": {"code": 206, "message": "no"}}}, ["1", "2", "1"]
    )
    assert set(keys) == {"1"}
    assert type(failures["2"]) is KmsRefused


@pytest.mark.parametrize(
    "body",
    [
        {"code": 101},
        {"code": 101, "message": ""},
        {"code": "101", "message": "m"},
        {"code": True, "message": "m"},
        {"code": -1, "message": "m"},
        {"code": 65_536, "message": "m"},
        {"message": "m"},
        "101",
        None,
    ],
)
def test_an_error_without_its_envelope_is_a_bad_reply(body: object) -> None:
    assert type(protocol.error(body, 401)) is BadReply


def test_an_error_keeps_the_servers_words_but_not_without_end() -> None:
    error = protocol.error({"code": 101, "message": "m" * 5000}, 401)
    assert type(error) is Unauthorized
    assert len(error.message) == 500


def test_a_wrapped_key_does_not_print_or_pickle() -> None:
    found = protocol.wrapped({"dek": DEK, "edek": EDEK})
    assert repr(found) == "<WrappedKey>"
    for taken in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            taken(found)
