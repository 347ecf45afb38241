"""The description of the wire API is current, and the proxy does what it says, whatever is sent to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT
from tests.tsp.doubles import call, world
from tsp import app, openapi, wire


def test_the_description_is_current() -> None:
    """`manage.py tsp_openapi --out docs/openapi.json` writes it."""
    assert (ROOT / "docs/openapi.json").read_text() == openapi.text()


def test_every_route_is_described() -> None:
    assert set(openapi.ROUTES) == set(app.OPERATIONS)
    assert wire.BatchReply.__struct_fields__ == openapi.BatchWrapReply.__struct_fields__
    assert wire.BatchReply.__struct_fields__ == openapi.BatchUnwrapReply.__struct_fields__
    assert wire.BatchReply.__struct_fields__ == openapi.BatchRekeyReply.__struct_fields__


async def test_every_status_that_tests_have_seen_is_described(tmp_path: Path) -> None:
    made = world(tmp_path)
    described = set(openapi.document()["paths"]["/api/1/document/wrap"]["post"]["responses"])
    for body, key in ((b"{", None), (b"{", "cmk x"), (b"{}", None), (b" " * 2_000_000, None)):
        headers = {"key": key} if key else {}
        answer = await call(made.plane.app, "document/wrap", body, **headers)  # type: ignore[arg-type]
        assert str(answer.status) in described
    made.plane.close()


def test_whatever_is_sent_the_reply_is_as_described() -> None:
    """Schemathesis (Q-7), as `describe_openapi.py` sets it up."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/tsp/describe_openapi.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout or "." * 8 in done.stdout
