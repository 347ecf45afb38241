"""A sandbox proxy as a subprocess on a free port, with tenants that can withdraw their keys."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, Process
from tsp.kms.local import set_enabled
from tsp.sandbox import key_file

API_KEY = "c2FuZGJveC1hcGkta2V5LTEyMzQ="  # alloy wants base64 of at least 12 bytes


class Sandbox:
    """Running at `url`, with `api_key`, for `tenants`. `stop` ends it."""

    def __init__(self, tenants: Sequence[str] = ("a", "b"), *, leased: bool = False, state: Path | None = None) -> None:
        self.api_key = API_KEY
        self.tenants = tuple(tenants)
        self._temporary = None if state else Path(tempfile.mkdtemp(prefix="cmk-sandbox-test-"))
        self.state = state or self._temporary or Path()
        self.state.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "manage.py",
            "tsp_sandbox",
            "--port",
            "0",
            "--api-key",
            API_KEY,
            "--state-dir",
            str(self.state),
        ]
        for tenant in tenants:
            command += ["--tenant", tenant]
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "cmk_project.settings.local"}
        log = self.state / "sandbox.log"
        log.unlink(missing_ok=True)
        self.process = Process(command + ["--leased"] * leased, log, env=env, cwd=ROOT)
        line = self.process.wait_for_line("tsp_sandbox ready: ")
        self.url = line.split()[2]

    def revoke(self, tenant: str) -> None:
        """The tenant switches its key off."""
        set_enabled(key_file(self.state, tenant), False)

    def restore(self, tenant: str) -> None:
        """The tenant switches its key on again."""
        set_enabled(key_file(self.state, tenant), True)

    def events(self) -> list[dict[str, Any]]:
        """The audit events so far; one can take a second to show up."""
        try:
            return [json.loads(line) for line in (self.state / "audit.jsonl").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def stop(self) -> int:
        code = self.process.stop()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
        return code


@contextlib.contextmanager
def sandbox(*tenants: str, leased: bool = False, state: Path | None = None) -> Iterator[Sandbox]:
    """For the `with` statement and for fixtures."""
    running = Sandbox(tenants or ("a", "b"), leased=leased, state=state)
    try:
        yield running
    finally:
        running.stop()
