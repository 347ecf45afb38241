"""The description of the wire API is current, and the proxy does what it says, whatever is sent to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.support.processes import ROOT
from tests.support.sandbox import API_KEY, Sandbox, sandbox
from tests.tsp.doubles import call, world
from tsp import app, openapi, wire

load_all_checks()
PROMISED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
schema = schemathesis.openapi.from_dict(openapi.document())


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with sandbox("tenant-1", "a") as one:
        yield one


def test_the_description_is_current() -> None:
    """`manage.py tsp_openapi --out docs/openapi.json` writes it."""
    assert (ROOT / "docs/openapi.json").read_text() == openapi.text()


def test_every_route_is_described() -> None:
    assert set(openapi.ROUTES) == set(app.OPERATIONS)
    assert wire.BatchReply.__struct_fields__ == openapi.BatchWrapReply.__struct_fields__
    assert wire.BatchReply.__struct_fields__ == openapi.BatchUnwrapReply.__struct_fields__


async def test_every_status_that_tests_have_seen_is_described(tmp_path: Path) -> None:
    made = world(tmp_path)
    described = set(openapi.document()["paths"]["/api/1/document/wrap"]["post"]["responses"])
    for body, key in ((b"{", None), (b"{", "cmk x"), (b"{}", None), (b" " * 2_000_000, None)):
        headers = {"key": key} if key else {}
        answer = await call(made.plane.app, "document/wrap", body, **headers)  # type: ignore[arg-type]
        assert str(answer.status) in described
    made.plane.close()


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
def test_whatever_is_sent_the_reply_is_as_described(case: schemathesis.Case, running: Sandbox) -> None:
    """No 5xx. Half of what fits goes to a tenant that exists, so that it gets further than error 201."""
    if isinstance(case.body, dict) and isinstance(case.body.get("tenantId"), str) and len(case.body["tenantId"]) % 2:
        case.body["tenantId"] = "a"
    case.headers["Authorization"] = f"cmk {API_KEY}"
    response = case.call(base_url=running.url)
    case.validate_response(response, checks=PROMISED)
    assert response.headers["cache-control"] == ["no-store"]
    if response.status_code != 200:
        assert set(json.loads(response.content)) == {"code", "message"}
