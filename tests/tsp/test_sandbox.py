"""The sandbox as developers run it: a subprocess, ready at once, that keeps or forgets, and stops when told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.people import NORTH, event
from tests.support.processes import ROOT
from tests.support.sandbox import Sandbox, sandbox
from tests.tsp.doubles import request
from tsp.audit.spool import SpoolTrail
from tsp.contract import events
from tsp.sandbox import _move


def post(running: Sandbox, route: str, body: dict[str, Any]) -> Any:
    asked = urllib.request.Request(
        f"{running.url}/api/1/{route}", json.dumps(body).encode(), {"Authorization": f"cmk {running.api_key}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def eventually(check: Any, seconds: float = 8.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("leased", [False, True], ids=["direct", "leased"])
def test_a_developers_day(leased: bool) -> None:
    """Ready within three seconds; wrap, unwrap, derive, withdraw, give back, stop."""
    began = time.monotonic()
    with sandbox("a", "b", leased=leased) as running:
        assert time.monotonic() - began < 3.0
        made = post(running, "document/wrap", request())
        body = request(encryptedDocumentKey=made["edek"])
        assert post(running, "document/unwrap", body) == {"dek": made["dek"]}
        asked = {"paths": {"p": ["q"]}, "derivationType": "sha512", "secretType": "deterministic"}
        assert post(running, "key/derive-with-secret-path", request(**asked))["hasPrimaryConfig"] is True
        running.revoke("a")
        assert eventually(lambda: post(running, "document/unwrap", body).get("code") == 206)
        assert "dek" in post(running, "document/wrap", request("b"))
        running.restore("a")
        assert eventually(lambda: post(running, "document/unwrap", body).get("dek") == made["dek"])
        recorded = {"dek.wrap", "dek.unwrap", "key.derive"}
        assert eventually(lambda: recorded <= {event["action"] for event in running.events()})
        ready, *logged = running.process.output().splitlines()
        assert ready.startswith("tsp_sandbox ready")
        assert {json.loads(line)["code"] for line in logged} == {206}
        assert running.process.stop() == 0


def test_the_state_folder_keeps_keys_between_runs(tmp_path: Path) -> None:
    with sandbox("a", leased=True, state=tmp_path) as running:
        made = post(running, "document/wrap", request())
    with sandbox("b", "a", state=tmp_path) as running:
        assert post(running, "document/unwrap", request(encryptedDocumentKey=made["edek"])) == {"dek": made["dek"]}


async def test_a_flood_of_events_is_moved_out_by_the_eighth(tmp_path: Path) -> None:
    """The spool must not fill up while the sandbox is under load, whatever pauses there are between two slices."""
    trail = SpoolTrail(tmp_path / "audit")
    made = [event() for _ in range(9_600)]
    await trail.record(made)
    assert _move(trail, NORTH, tmp_path / "audit.jsonl")
    assert trail.pending == 8_400
    while _move(trail, NORTH, tmp_path / "audit.jsonl"):
        pass
    assert (tmp_path / "audit.jsonl").read_bytes() == b"".join(events.dump(one) + b"\n" for one in made)
    assert trail.pending == 0
    trail.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tenant", "a"], "--api-key"),
        (["--api-key", "k"], "--tenant"),
        (["--api-key", "", "--tenant", "a"], "TSP_API_KEY is empty"),
        (["--api-key", "k", "--tenant", "not a name"], "a tenant is named with"),
        (["--api-key", "k", "--tenant", "a", "--port", "1", "--host", "256.0.0.1"], "cannot start"),
    ],
)
def test_a_wrong_argument_says_what_is_wrong(arguments: list[str], said: str) -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "cmk_project.settings.local"}
    command = [sys.executable, "manage.py", "tsp_sandbox", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
