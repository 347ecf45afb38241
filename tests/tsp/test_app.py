"""The wire API over ASGI: the twelve rules, the order of the checks, and what is never answered."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from encrypted_fields.core.errors import KmsThrottled, KmsUnreachable
from encrypted_fields.core.protocol import PREFIX
from tests.tsp.doubles import API_KEY, World, call, request

ROUTES = {
    "document/wrap": {},
    "document/unwrap": {"encryptedDocumentKey": "ZWRlaw=="},
    "document/batch-wrap": {"documentIds": ["x"]},
    "document/batch-unwrap": {"edeks": {"x": "ZWRlaw=="}},
    "document/rekey": {"encryptedDocumentKey": "ZWRlaw==", "newTenantId": "b"},
    "document/batch-rekey": {"edeks": {"x": "ZWRlaw=="}, "newTenantId": "b"},
    "document/report-operations": {"operations": {}},
    "event/security-event": {"event": "USER_LOGIN", "timestampMillis": 1},
    "key/derive-with-secret-path": {"paths": {}, "derivationType": "sha512", "secretType": "vector"},
}


@pytest.fixture(params=["direct", "leased"])
def either(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made


async def test_wraps_and_unwraps_a_key(either: World) -> None:
    made = await call(either.plane.app, "document/wrap", request())
    assert (made.status, made.headers[b"content-type"]) == (200, b"application/json")
    assert set(made.json()) == {"dek", "edek"}
    assert len(base64.b64decode(made.json()["dek"], validate=True)) == 32
    opened = await call(either.plane.app, "document/unwrap", request(encryptedDocumentKey=made.json()["edek"]))
    assert opened.json() == {"dek": made.json()["dek"]}


async def test_a_doubled_slash_reaches_the_same_route(direct: World) -> None:
    """Node and alloy build it from a base address that ends in a slash (rule 1)."""
    assert (await call(direct.plane.app, "", request(), path="//api/1/document/wrap")).status == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/api/1/", "/api/1/document/wrap/", "/api/2/document/wrap", "/api/1/key/derive", "///api/1/document/wrap"],
)
async def test_an_unknown_route_is_404_with_an_envelope(direct: World, path: str) -> None:
    answer = await call(direct.plane.app, "", request(), path=path)
    assert (answer.status, answer.json()["code"]) == (404, 102)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "post"])
async def test_another_method_is_405_with_an_envelope(direct: World, method: str) -> None:
    answer = await call(direct.plane.app, "document/wrap", request(), method=method)
    assert (answer.status, answer.json()["code"]) == (405, 102)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("key", [None, "", "cmk wrong", f"CMK {API_KEY}", f"Bearer {API_KEY}"])
async def test_every_route_wants_the_key_before_it_reads_the_body(direct: World, route: str, key: str | None) -> None:
    """Rule 10 and T-14: 401 is for code 101 only, and not a byte of the body is read."""
    answer = await call(direct.plane.app, route, b"{" * 100, key=key)
    assert (answer.status, answer.json()["code"]) == (401, 101)
    assert answer.headers[b"read"] == b"0"
    assert direct.trail.events == []


@pytest.mark.parametrize("route", ROUTES)
async def test_every_route_checks_shape_then_tenant(direct: World, route: str) -> None:
    """wire.md section 11: 101, 102, 201, 203 in this order."""
    bad = await call(direct.plane.app, route, {"tenantId": "nobody"})
    assert (bad.status, bad.json()["code"]) == (400, 102)
    unknown = await call(direct.plane.app, route, request("nobody", **ROUTES[route]))
    assert (unknown.status, unknown.json()["code"]) == (422, 201)
    assert "No configurations available for the provided tenant" in unknown.json()["message"]


@pytest.mark.parametrize(
    "text", ["ZWRlaw==", "d2hhdCBhIHdhc3RlIG9mIHRpbWUK", base64.b64encode(bytes(range(200))).decode()]
)
async def test_foreign_edeks_are_203(direct: World, text: str) -> None:
    answer = await call(direct.plane.app, "document/unwrap", request(encryptedDocumentKey=text))
    assert (answer.status, answer.json()["code"]) == (422, 203)
    assert "Provided EDEK didn't contain IronCore EDEKs" in answer.json()["message"]


@pytest.mark.parametrize("route", ["event/security-event", "document/report-operations"])
async def test_events_are_answered_with_exactly_four_bytes(direct: World, route: str) -> None:
    """Rule 7."""
    answer = await call(direct.plane.app, route, request(**ROUTES[route]))
    assert (answer.status, answer.body, answer.headers[b"content-length"]) == (200, b"null", b"4")


async def test_a_batch_answers_each_id_exactly_once(either: World) -> None:
    """Rule 6 and R-33: failures are per id, the status stays 200, and the order is kept."""
    ids = [f"id-{number}" for number in range(60)] + ["😀", "", "id-1"]
    made = (await call(either.plane.app, "document/batch-wrap", request(documentIds=ids))).json()
    assert list(made["keys"]) == list(dict.fromkeys(ids))
    assert made["failures"] == {}
    edeks = {name: key["edek"] for name, key in made["keys"].items()} | {"bad": "ZWRlaw==", "worse": "?"}
    answer = await call(either.plane.app, "document/batch-unwrap", request(edeks=edeks))
    opened = answer.json()
    assert answer.status == 200
    assert {name: key["dek"] for name, key in opened["keys"].items()} == {
        name: key["dek"] for name, key in made["keys"].items()
    }
    assert {name: (one["code"], bool(one["message"])) for name, one in opened["failures"].items()} == {
        "bad": (203, True),
        "worse": (102, True),
    }


@pytest.mark.parametrize(
    ("route", "empty"),
    [
        ("document/batch-wrap", {"documentIds": []}),
        ("document/batch-unwrap", {"edeks": {}}),
        ("document/batch-unwrap", {"edeks": []}),
        ("document/batch-rekey", {"edeks": {}, "newTenantId": "b"}),
    ],
)
async def test_an_empty_batch_succeeds(direct: World, route: str, empty: dict[str, Any]) -> None:
    assert (await call(direct.plane.app, route, request(**empty))).json() == {"keys": {}, "failures": {}}


async def test_a_batch_in_which_every_id_fails_is_still_200(direct: World) -> None:
    answer = await call(direct.plane.app, "document/batch-unwrap", request(edeks={"0": "ZWRlaw=="}))
    assert (answer.status, answer.json()["keys"], answer.json()["failures"]["0"]["code"]) == (200, {}, 203)


async def test_a_batch_of_12000_ids_is_legal(leased: World) -> None:
    """wire.md section 1.4."""
    made = (
        await call(
            leased.plane.app, "document/batch-wrap", request(documentIds=list(map(str, range(12_000)))), chunks=50
        )
    ).json()
    edeks = {name: key["edek"] for name, key in made["keys"].items()}
    body = json.dumps(request(edeks=edeks)).encode()
    assert len(body) > 3_000_000
    answer = await call(leased.plane.app, "document/batch-unwrap", body, chunks=100)
    assert len(answer.json()["keys"]) == 12_000


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_above_the_cap_is_413(direct: World, announced: bool) -> None:
    headers = [(b"content-length", b"8388609")] if announced else []
    answer = await call(direct.plane.app, "document/wrap", b" " * 8_388_609, headers=headers, chunks=1000)
    assert (answer.status, answer.json()["code"]) == (413, 102)
    assert "smaller" in answer.json()["message"]
    assert (answer.headers[b"read"] == b"0") is announced


async def test_a_body_that_is_cut_is_refused(direct: World) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"authorization", f"cmk {API_KEY}".encode())]
    scope = {"type": "http", "method": "POST", "path": PREFIX + "document/wrap", "headers": headers}
    await direct.plane.app(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_the_ray_id_is_the_same_in_reply_and_event(direct: World) -> None:
    answer = await call(direct.plane.app, "document/wrap", request())
    assert direct.trail.events[-1].ray_id == answer.headers[b"x-ray-id"].decode()


@pytest.mark.parametrize(("failure", "status", "code"), [(KmsUnreachable(), 503, 208), (KmsThrottled(), 429, 209)])
async def test_errors_carry_no_key(direct: World, failure: Any, status: int, code: int) -> None:
    """Two clients take any body that holds a `dek` for a success, whatever its status (wire.md section 2)."""
    direct.kms().adapter.failure = failure
    answer = await call(direct.plane.app, "document/wrap", request())
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message"}
    assert answer.json()["message"]


async def test_a_programming_error_is_100_and_tells_nothing(
    direct: World, plant: Any, caplog: pytest.LogCaptureFixture
) -> None:
    secret = plant("what an exception held")

    def fail() -> None:
        raise ZeroDivisionError

    direct.trail.then = fail
    answer = await call(direct.plane.app, "document/wrap", request(customFields={"k": secret}))
    assert (answer.status, answer.json()) == (500, {"code": 100, "message": "unexpected error"})
    assert "a request failed" in caplog.text


async def test_counts_requests_for_the_metrics(direct: World) -> None:
    await call(
        direct.plane.app,
        "document/wrap",
        request(),
        headers=[(b"x-icl-tsc-language", b"node"), (b"x-icl-tsc-version", b"4.1.3")],
    )
    await call(direct.plane.app, "document/wrap", request("nobody"))
    app = direct.plane.app
    assert (app.requests["document/wrap", 0], app.requests["document/wrap", 201], app.clients["node 4.1.3"]) == (
        1,
        1,
        1,
    )
