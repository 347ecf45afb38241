"""The twelve rules of the wire API that break published clients when missed, each over real HTTP."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from encrypted_fields.core.protobuf import fields, length
from tests.support.sandbox import Sandbox

ICL = {"requestingId": "me"}
ROUTES = [
    "document/wrap", "document/unwrap", "document/batch-wrap", "document/batch-unwrap", "document/rekey",
    "document/report-operations", "event/security-event", "key/derive-with-secret-path",
]  # fmt: skip


class Caller:
    """Posts to the proxy with its key; `send` gives the whole reply, `ask` the JSON of a success."""

    def __init__(self, url: str, key: str) -> None:
        self.session = httpx.Client(base_url=url, headers={"Authorization": f"cmk {key}"}, trust_env=False, timeout=30)

    def send(self, route: str, body: Any = None, **more: Any) -> httpx.Response:
        content = json.dumps({"tenantId": "a", "iclFields": ICL, "customFields": {}} | (body or {}))
        return self.session.post(f"/api/1/{route}", content=content, **more)

    def ask(self, route: str, **body: Any) -> Any:
        reply = self.send(route, body)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture
def caller(proxy: Sandbox) -> Iterator[Caller]:
    made = Caller(proxy.url, proxy.api_key)
    yield made
    made.session.close()


def test_rule_1_json_in_and_out_by_post_also_under_two_slashes(proxy: Sandbox, caller: Caller) -> None:
    reply = caller.session.post(
        f"{proxy.url}//api/1/document/wrap", json={"tenantId": "a", "iclFields": ICL, "customFields": {}}
    )
    assert reply.status_code == 200
    assert reply.headers["content-type"].split(";")[0] == "application/json"
    for other in (caller.session.get("/api/1/document/wrap"), caller.session.post("/api/1/nothing", json={})):
        assert other.status_code in (404, 405)
        assert other.json()["message"]


@pytest.mark.parametrize("route", ROUTES)
def test_rule_2_and_10_every_route_wants_exactly_the_key_and_says_401_with_101(proxy: Sandbox, route: str) -> None:
    bad = ["", "cmk", "cmk wrong", f"CMK {proxy.api_key}", f"Bearer {proxy.api_key}", proxy.api_key]
    bad += [f"cmk  {proxy.api_key}", f"cmk {proxy.api_key}x", f"cmk {proxy.api_key[:-1]}"]
    for value in [None, *bad]:
        headers = {} if value is None else {"Authorization": value}
        reply = httpx.post(f"{proxy.url}/api/1/{route}", json={}, headers=headers, trust_env=False)
        assert (reply.status_code, reply.json()["code"]) == (401, 101), value


def test_rule_3_a_dek_is_32_bytes_in_padded_standard_base64(caller: Caller) -> None:
    seen = set()
    for _ in range(50):  # enough for + and / to appear
        found = caller.ask("document/wrap")
        for text in (found["dek"], found["edek"]):
            assert base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
        assert len(base64.b64decode(found["dek"])) == 32
        seen.add(found["dek"])
    assert len(seen) == 50


def test_rule_4_an_edek_is_one_encrypted_dek_with_a_configuration_number(caller: Caller) -> None:
    found = list(fields(base64.b64decode(caller.ask("document/wrap")["edek"])))
    assert [number for number, _ in found] == [1]
    members = dict(fields(found[0][1])) if isinstance(found[0][1], bytes) else {}
    assert 1 <= members.get(2, 0) <= 2**31 - 1
    assert members[1]


def test_rule_5_an_edek_that_a_client_rewrote_still_opens(caller: Caller) -> None:
    """alloy takes the one element out, adds the tenant (field 6) and writes it anew."""
    found = caller.ask("document/wrap")
    ((_, element),) = fields(base64.b64decode(found["edek"]))
    assert isinstance(element, bytes)
    rewritten = base64.b64encode(length(1, element + length(6, b"a"))).decode()
    assert rewritten != found["edek"]
    assert caller.ask("document/unwrap", encryptedDocumentKey=rewritten) == {"dek": found["dek"]}


def test_rule_6_a_batch_answers_each_id_once_in_keys_or_failures(caller: Caller) -> None:
    ids = ["1", "ö", "", "a/b"]
    wrapped = caller.ask("document/batch-wrap", documentIds=ids)
    assert (set(wrapped["keys"]), wrapped["failures"]) == (set(ids), {})
    edeks = {name: found["edek"] for name, found in wrapped["keys"].items()} | {"bad": "ZWRlaw==", "no": "?"}
    opened = caller.ask("document/batch-unwrap", edeks=edeks)
    assert set(opened["keys"]) == set(ids)
    assert set(opened["failures"]) == {"bad", "no"}
    assert opened["failures"]["bad"]["code"] == 203
    assert all(opened["keys"][name] == {"dek": wrapped["keys"][name]["dek"]} for name in ids)
    assert caller.ask("document/batch-wrap", documentIds=[]) == {"keys": {}, "failures": {}}
    assert caller.ask("document/batch-unwrap", edeks={}) == {"keys": {}, "failures": {}}


def test_rule_7_an_event_is_answered_by_the_four_bytes_null(caller: Caller) -> None:
    body = {"iclFields": {**ICL, "event": "USER_LOGIN"}, "timestampMillis": 1_700_000_000_123}
    reply = caller.send("event/security-event", body)
    assert (reply.status_code, reply.content) == (200, b"null")


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_rule_8_an_events_name_is_inside_or_beside_icl_fields(caller: Caller, place: str) -> None:
    body: dict[str, Any] = {"timestampMillis": 1}
    body |= {"iclFields": {**ICL, "event": "X"}} if place == "inside" else {"event": "X"}
    assert caller.send("event/security-event", body).content == b"null"
    assert caller.send("event/security-event", {"timestampMillis": 1}).status_code == 400


@pytest.mark.parametrize(
    ("route", "body", "status", "code"),
    [
        ("document/wrap", {"tenantId": "nobody"}, 422, 201),
        ("document/wrap", {"tenantId": ""}, 400, 102),
        ("document/wrap", {"iclFields": None}, 400, 102),
        ("document/unwrap", {}, 400, 102),
        ("document/unwrap", {"encryptedDocumentKey": "?"}, 400, 102),
        ("document/unwrap", {"encryptedDocumentKey": "ZWRlaw=="}, 422, 203),
        ("document/batch-wrap", {"tenantId": "nobody", "documentIds": ["1"]}, 422, 201),
    ],
)
def test_rule_9_an_error_is_a_status_with_code_and_message(
    caller: Caller, route: str, body: dict[str, Any], status: int, code: int
) -> None:
    reply = caller.send(route, body)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.json()["message"]
    assert not {"dek", "edek", "keys", "failures"} & set(reply.json())


def test_rule_9_holds_for_bytes_that_are_no_json(caller: Caller) -> None:
    for content in (b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"tenantId":' * 50_000):
        reply = caller.session.post("/api/1/document/wrap", content=content)
        assert (reply.status_code, reply.json()["code"]) == (400, 102), content[:20]


def test_rule_11_derived_keys_are_64_bytes_with_a_number_and_the_current_first(caller: Caller) -> None:
    def derive(kind: str, tenant: str = "a") -> Any:
        paths = {"mail": ["clinic", "shop", "clinic"], "": [""]}
        body = {"tenantId": tenant, "paths": paths, "derivationType": "sha512", "secretType": kind}
        return caller.ask("key/derive-with-secret-path", **body)

    found = derive("deterministic")
    assert found["hasPrimaryConfig"] is True
    assert {path: set(keys) for path, keys in found["derivedKeys"].items()} == {"mail": {"clinic", "shop"}, "": {""}}
    every = [found["derivedKeys"][path][name] for path, name in [("mail", "clinic"), ("mail", "shop"), ("", "")]]
    for keys in every:
        assert len(base64.b64decode(keys[0]["derivedKey"])) == 64
        assert type(keys[0]["tenantSecretId"]) is int
        assert 1 <= keys[0]["tenantSecretId"] <= 2**32 - 1
        assert [key["current"] for key in keys] == [True] + [False] * (len(keys) - 1)
    assert len({keys[0]["derivedKey"] for keys in every}) == 3
    assert derive("deterministic") == found
    clinic = [reply["derivedKeys"]["mail"]["clinic"][0]["derivedKey"] for reply in (found, derive("vector"))]
    assert len({*clinic, derive("deterministic", "b")["derivedKeys"]["mail"]["clinic"][0]["derivedKey"]}) == 3


@pytest.mark.parametrize("custom", [None, {}, {"k": "v"}, ...])
def test_rule_12_optional_members_may_be_absent_or_null(caller: Caller, custom: Any) -> None:
    optional = dict.fromkeys(("dataLabel", "sourceIp", "objectId", "requestId", "event"))
    body = {"tenantId": "a", "iclFields": {**ICL, **optional}, "unknown": [1]}
    body |= {} if custom is ... else {"customFields": custom}
    reply = caller.session.post("/api/1/document/wrap", json=body)
    assert reply.status_code == 200, reply.text


def test_tolerates_a_repeated_content_type_and_expect_100_continue(proxy: Sandbox) -> None:
    """One java transport sends the header twice; php announces large bodies."""
    content = json.dumps({"tenantId": "a", "iclFields": ICL, "customFields": {}}).encode()
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
    connection.putrequest("POST", "/api/1/document/wrap")
    for name, value in [
        ("Content-Type", "application/json"), ("Content-Type", "application/json; charset=UTF-8"),
        ("Authorization", f"cmk {proxy.api_key}"), ("Expect", "100-continue"), ("Content-Length", str(len(content))),
    ]:  # fmt: skip
        connection.putheader(name, value)
    connection.endheaders(content)
    reply = connection.getresponse()
    assert (reply.status, len(json.loads(reply.read()))) == (200, 2)
    connection.close()


def test_takes_a_batch_of_twelve_thousand_ids_and_refuses_an_endless_body(caller: Caller) -> None:
    ids = [f"document-{number:05}-{'x' * 200}" for number in range(12_000)]
    assert len(caller.ask("document/batch-wrap", documentIds=ids)["keys"]) == 12_000
    reply = caller.session.post("/api/1/document/wrap", content=b" " * (40 * 1024 * 1024))
    assert reply.status_code in (400, 413)
    assert reply.json()["message"]
