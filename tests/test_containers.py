"""The image and the compose file, as far as they can be looked at without a container engine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import Process, free_port

ROOT = Path(__file__).resolve().parent.parent
ENTRY = ROOT / "scripts" / "entrypoint"
ROLES = {"broker", "tsp", "worker", "beat", "clinic", "manage"}
STRONG = "k" * 30 + "0123456789abcdefghijklmnop"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def test_compose_has_every_part_of_the_system(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"postgres", "redis", "broker", "tsp", "worker", "beat", "clinic"}
    ours = {name: service for name, service in compose["services"].items() if "build" in service}
    assert {service["command"][0] for service in ours.values()} <= ROLES
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_redis_keeps_every_write_and_evicts_nothing(compose: dict[str, Any]) -> None:
    """R-10, R-12: an audit event that was taken is not lost."""
    command = " ".join(compose["services"]["redis"]["command"])
    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in command


def test_secrets_come_from_files_and_each_role_gets_only_its_own(compose: dict[str, Any]) -> None:
    """T-10: the proxy's private key never reaches the portal or the SaaS."""
    services = compose["services"]
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            secret = any(word in variable for word in ("KEY", "TOKEN", "PASSWORD", "DATABASE_URL"))
            assert not secret or variable.endswith("_FILE") or value.startswith("sqlite:"), f"{name}: {variable}"
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {variable}"
    for name in ("broker", "clinic", "postgres", "redis"):
        assert "tsp_private_keys" not in services[name].get("secrets", [])
    assert all(secret["file"].startswith("secrets/") for secret in compose["secrets"].values())


def test_ports_are_published_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_service_that_others_wait_for_has_a_health_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    waited = {name for service in services.values() for name in service.get("depends_on", {})}
    assert waited == {"postgres", "redis", "broker", "tsp"}
    assert all("healthcheck" in services[name] for name in waited)


def test_the_image_runs_as_an_ordinary_user_without_secrets() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    assert lines.count("\nFROM ") + lines.startswith("FROM ") == 2
    assert re.search(r"^USER 10001$", lines, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".env", "secrets", "var", ".venv", "node_modules"} <= set(ignored)


def test_every_role_has_its_entry() -> None:
    assert set(re.findall(r"^  ([a-z]+)\)$", ENTRY.read_text(), re.MULTILINE)) == ROLES


def _environment(**more: str) -> dict[str, str]:
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "BIND": "127.0.0.1", **more}


def test_an_unknown_role_is_refused_with_the_list() -> None:
    done = subprocess.run([ENTRY, "portal"], env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "broker | tsp | worker" in done.stderr


def test_a_role_with_a_wrong_setting_stops_and_names_it() -> None:
    done = subprocess.run([ENTRY, "broker"], env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "SECRET_KEY is not set: set it, or set SECRET_KEY_FILE" in done.stderr


def test_manage_runs_a_command() -> None:
    done = subprocess.run([ENTRY, "manage", "version"], env=_environment(), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("5.2"), done.stderr


def test_the_portal_migrates_and_serves(tmp_path: Path) -> None:
    port = free_port()
    more = {"PORT": str(port), "SECRET_KEY": STRONG, "DATABASE_URL": f"sqlite:///{tmp_path}/portal.sqlite3"}
    process = Process([str(ENTRY), "broker"], tmp_path / "log", env=_environment(WEB_WORKERS="1", **more))
    try:
        process.wait_for_port(port)
    finally:
        assert process.stop(45) == 0, process.output()
