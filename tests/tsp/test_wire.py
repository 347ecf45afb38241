"""Bodies: tolerant where published clients differ, strict elsewhere, and silent about values."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core.errors import CmkError, InvalidRequest, Unauthorized
from tsp import wire

LEAST = {"tenantId": "a", "iclFields": {"requestingId": "user-1"}}


def read(kind: type[wire.Request], **members: Any) -> Any:
    return wire.decode(wire.decoder(kind), json.dumps({**LEAST, **members}).encode())


def test_every_optional_member_may_be_absent_or_null() -> None:
    """Rule 12: node, java and go leave them out, alloy and php send null, go sends customFields null."""
    nulls = dict.fromkeys(["dataLabel", "sourceIp", "objectId", "requestId", "event"])
    absent, null = (
        read(wire.Request),
        read(wire.Request, customFields=None, iclFields={"requestingId": "user-1", **nulls}),
    )
    assert absent == null
    assert absent.custom_fields is None


def test_members_that_we_do_not_know_are_ignored() -> None:
    assert (
        read(
            wire.Request, later={"deep": [1, {"x": None}]}, iclFields={"requestingId": "u", "timestamp": "t"}
        ).tenant_id
        == "a"
    )


def test_the_name_of_an_event_may_stand_in_either_place() -> None:
    """Rule 8."""
    inside = read(wire.SecurityEvent, iclFields={"requestingId": "u", "event": "USER_LOGIN"}, timestampMillis=1)
    beside = read(wire.SecurityEvent, event="CUSTOM_x y", timestampMillis=1700000000123)
    assert (inside.name(), beside.name()) == ("USER_LOGIN", "CUSTOM_x y")
    for none in (read(wire.SecurityEvent), read(wire.SecurityEvent, event="")):
        with pytest.raises(InvalidRequest, match="event"):
            none.name()


def test_phps_array_of_edeks_is_a_map_with_decimal_keys() -> None:
    assert read(wire.BatchUnwrap, edeks=["x", "y"]).by_id() == {"0": "x", "1": "y"}
    assert read(wire.BatchUnwrap, edeks=[]).by_id() == {}
    assert read(wire.BatchUnwrap, edeks={}).by_id() == {}


@pytest.mark.parametrize(
    ("kind", "members", "member"),
    [
        (wire.Request, {"tenantId": ""}, "tenantId"),
        (wire.Request, {"tenantId": 5}, "tenantId"),
        (wire.Request, {"tenantId": "x" * 1025}, "tenantId"),
        (wire.Request, {"iclFields": {}}, "iclFields.requestingId"),
        (wire.Request, {"iclFields": None}, "iclFields"),
        (wire.Request, {"iclFields": {"requestingId": ""}}, "iclFields.requestingId"),
        (wire.Request, {"iclFields": {"requestingId": "u", "objectId": "x" * 1025}}, "iclFields.objectId"),
        (wire.Request, {"customFields": {"member": 5}}, r"customFields\[...\]"),
        (wire.Request, {"customFields": {"member": "x" * 4096}}, "customFields"),
        (wire.Unwrap, {}, "encryptedDocumentKey"),
        (wire.Rekey, {"encryptedDocumentKey": "eA=="}, "newTenantId"),
        (wire.BatchWrap, {"documentIds": {"a": "b"}}, "documentIds"),
        (wire.BatchWrap, {"documentIds": ["x"] * 20_001}, "documentIds"),
        (wire.BatchUnwrap, {"edeks": "x"}, "edeks"),
        (wire.SecurityEvent, {"timestampMillis": "now"}, "timestampMillis"),
        (wire.SecurityEvent, {"timestampMillis": -1}, "timestampMillis"),
        (wire.ReportOperations, {"operations": {"edek": {"wraps": -1}}}, r"operations\[...\].wraps"),
        (wire.Derive, {"paths": {"p": "q"}}, r"paths\[...\]"),
    ],
)
def test_names_the_member_at_fault(kind: type[wire.Request], members: dict[str, Any], member: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{member}' "):
        read(kind, **members)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"tenantId": NaN}',
        b"[" * 1_000_000,
        b'{"later":' + b"[" * 1_000_000,
        b'{"later":' + b'{"x":' * 100_000,
        b'{"tenantId":"\\ud800"}',
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """T-14: a body of a million brackets included."""
    with pytest.raises(InvalidRequest, match="request body"):
        wire.decode(wire.decoder(wire.Request), body)


@given(st.text(min_size=8, max_size=40))
def test_an_error_never_repeats_a_value(value: str) -> None:
    bodies = [
        {**LEAST, "customFields": {value: 1}},
        {**LEAST, "customFields": [value]},
        {**LEAST, "iclFields": {"requestingId": [value]}},
        {**LEAST, "iclFields": value},
        {"tenantId": {value: value}},
    ]
    for body in bodies:
        with pytest.raises(InvalidRequest) as caught:
            wire.decode(wire.decoder(wire.Request), json.dumps(body).encode())
        said = str(caught.value)
        assert (
            value.strip() not in said.replace("'customFields[...]' has the wrong type, length or range", "")
            or not value.strip()
        )
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@given(st.binary(min_size=1, max_size=4096))
def test_an_edek_is_padded_standard_base64(data: bytes) -> None:
    assert wire.edek(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    "text", ["", "?", "eA", "eA=", "eA==\n", " eA==", "_-8=", "eA==eA==", base64.b64encode(bytes(4097)).decode()]
)
def test_refuses_other_spellings_of_base64(text: str) -> None:
    with pytest.raises(InvalidRequest):
        wire.edek(text)


def test_keys_are_answered_in_padded_standard_base64() -> None:
    """Rule 3."""
    assert wire.encode(wire.DekReply(b"\xff\xfe" * 16)) == b'{"dek":"%s"}' % base64.b64encode(b"\xff\xfe" * 16)


def test_no_error_has_an_empty_message() -> None:
    for error in (CmkError(), CmkError(""), Unauthorized("")):
        assert wire.failure(error).message
