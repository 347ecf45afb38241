"""Schemathesis over the description and a running proxy: what `test_openapi.py` runs, in a process of its own, since it
reads the sources of what it draws from, which CPython 3.11 does not do well beside threads of other tests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.support.sandbox import API_KEY, Sandbox, sandbox
from tsp import openapi

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
