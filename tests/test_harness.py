"""The test run itself: leaks and skips fail, servers start and stop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

ROOT = Path(__file__).resolve().parent.parent


def _run(folder: Path, body: str, **env: str) -> subprocess.CompletedProcess[str]:
    test = folder / "test_inner.py"
    test.write_text(body)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        "-c",
        "pyproject.toml",
        str(test),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **env}, check=False)


@pytest.mark.parametrize(
    "leak",
    [
        "print(plant('the credential'))",
        "import logging; logging.getLogger('tsp').debug('at last %s', plant('the credential'))",
        "import base64; print(base64.b64encode(plant('the credential').encode()).decode())",
        "import sys; print(plant('the credential').encode().hex(), file=sys.stderr)",
    ],
)
def test_a_planted_secret_in_the_output_fails_the_test(tmp_path: Path, leak: str) -> None:
    done = _run(tmp_path, f"def test_leaks(plant):\n    {leak}\n")
    assert done.returncode == 1, done.stdout
    assert "the credential" in done.stdout


def test_a_skip_is_a_failure_in_ci(tmp_path: Path) -> None:
    body = "import pytest\ndef test_skips():\n    pytest.skip('no server')\n"
    assert _run(tmp_path, body, CI="true").returncode == 1
    assert _run(tmp_path, body, CI="").returncode == 0
    module = "import pytest\npytest.skip('no module', allow_module_level=True)\n"
    assert _run(tmp_path, module, CI="true").returncode != 0


def test_a_real_postgresql_is_at_hand(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_real_redis_keeps_every_write(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.config_get("append*")["appendfsync"] == "always"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
