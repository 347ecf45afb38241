"""Each role holds what it needs and cannot hold what it must not; a wrong setting stops the start by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STRONG = "k" * 30 + "0123456789abcdefghijklmnop"


def _start(role: str, code: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Sets up Django in a process with only these variables, runs its checks, then `code`."""
    body = (
        f"import django; django.setup(); from django.core.management import call_command; call_command('check'); {code}"
    )
    clean = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": f"cmk_project.settings.{role}", **env}
    return subprocess.run(
        [sys.executable, "-c", body], cwd=ROOT, env=clean, capture_output=True, text=True, check=False
    )


def test_the_proxy_has_no_database_sessions_or_templates() -> None:
    code = """
from django.conf import settings
assert settings.DATABASES["default"]["ENGINE"] == "django.db.backends.dummy"
assert not settings.TEMPLATES and not settings.MIDDLEWARE
assert settings.INSTALLED_APPS == ["cmk_project", "tsp"]
"""
    done = _start("tsp", f"exec({code!r})")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["TSP_PRIVATE_KEYS", "TSP_PRIVATE_KEYS_FILE"])
def test_the_portal_does_not_start_beside_the_private_key(name: str) -> None:
    done = _start("broker", SECRET_KEY=STRONG, **{name: "/run/secrets/private"})
    assert done.returncode != 0
    assert f"{name} is set in the portal's environment: remove it" in done.stderr


def test_the_portal_starts_with_a_secret_key_and_a_host() -> None:
    done = _start("broker", SECRET_KEY=STRONG, BROKER_URL="https://keys.example.com", CMK_VENDOR="acme")
    assert done.returncode == 0, done.stderr


def test_the_portal_has_no_proxy_settings() -> None:
    # the one exception only lists the local KMS among the providers
    code = "from django.conf import settings; found = {n for n in dir(settings) if n.startswith('TSP_')}; "
    code += "assert found <= {'TSP_ALLOW_LOCAL_KMS'}, found"
    done = _start("broker", code, SECRET_KEY=STRONG)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("role", "env", "named"),
    [
        ("broker", {}, "SECRET_KEY is not set"),
        ("broker", {"SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY_FILE names a file that cannot be read"),
        ("broker", {"SECRET_KEY": "short"}, "cmk.E004"),
        ("broker", {"SECRET_KEY": STRONG, "DATABASE_URL": "mysql://x/y"}, "DATABASE_URL must be"),
        ("broker", {"SECRET_KEY": STRONG, "BROKER_URL": "keys.example.com"}, "BROKER_URL must be an address"),
        ("broker", {"SECRET_KEY": STRONG, "ALLOWED_HOSTS": "*"}, "cmk.E005"),
        ("broker", {"SECRET_KEY": STRONG, "CMK_VENDOR": "Acme Inc."}, "cmk.E006"),
        ("broker", {"SECRET_KEY": STRONG, "TRUST_FORWARDED_PROTO": "1"}, "TRUST_FORWARDED_PROTO must be exactly"),
        ("broker", {"SECRET_KEY": STRONG, "CMK_STAGE": "prod"}, "CMK_STAGE must be one of production, development"),
        ("local", {"CMK_STAGE": "production"}, "cmk.E002"),
        ("local", {"CMK_STAGE": "production"}, "cmk.E004"),
        ("tsp", {"TSP_ALLOW_LOCAL_KMS": "true"}, "cmk.E001"),
        ("tsp", {"TSP_ALLOW_LOCAL_KMS": "yes"}, "TSP_ALLOW_LOCAL_KMS must be exactly true or false"),
        ("tsp", {"TSP_BROKER_URL": "http://keys.example.com"}, "cmk.E007"),
        ("tsp", {"TSP_BROKER_URL": "keys.example.com"}, "TSP_BROKER_URL must be an address"),
        ("tsp", {"TSP_REDIS_URL": "http://redis"}, "TSP_REDIS_URL must be an address that starts with redis://"),
        ("tsp", {"TSP_PORT": "70000"}, "TSP_PORT must be a whole number from 0 to 65535"),
        ("tsp", {"TSP_EGRESS_ALLOW": "everything"}, "TSP_EGRESS_ALLOW must be networks"),
        ("tsp", {"TSP_REFRESH_SECONDS": "0"}, "TSP_REFRESH_SECONDS must be a whole number"),
        ("tsp", {"TSP_API_KEY_FILE": "/nowhere/key"}, "TSP_API_KEY_FILE names a file that cannot be read"),
        ("tsp", {"LOG_LEVEL": "TRACE"}, "LOG_LEVEL must be one of"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(role: str, env: dict[str, str], named: str) -> None:
    done = _start(role, **env)
    assert done.returncode != 0
    assert named in done.stderr, done.stderr[-1500:]


def test_development_on_one_machine_starts_without_any_setting() -> None:
    done = _start("local")
    assert done.returncode == 0, done.stderr
