"""The main job on real PostgreSQL and Redis with Celery workers; afterwards nothing secret lies in them (T-8)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from examples.demo.cast import PATIENTS
from examples.demo.show import Screen
from examples.demo.stage import Stage
from examples.demo.story import Story
from tests.flows import secrets_of
from tests.support import canary
from tests.support.postgres import Postgres
from tests.support.processes import need
from tests.support.redis import Redis
from tsp.kms.local import set_enabled

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres, redis_server: Redis
) -> Iterator[tuple[Story, list[str]]]:
    """The story told to its end, and the addresses of its databases."""
    stage = Stage(tmp_path_factory.mktemp("flow") / "state", any_port=True)
    databases = [postgres_server.database(), postgres_server.database()]
    try:
        told = Story(stage, Screen(), portal_db=databases[0], clinic_db=databases[1], redis=redis_server.url)
        told.tell()
        set_enabled(stage.key_file("south"), True)
        yield told, databases
    finally:
        stage.stop()


def test_the_main_job_runs_on_postgresql_redis_and_celery(story: tuple[Story, list[str]], redis_server: Redis) -> None:
    told, databases = story
    assert told.screen.checks >= 25
    assert all(address.startswith("postgresql://") for address in databases)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.dbsize() > 0, "the trail did not go through Redis"


def test_no_dump_holds_a_plaintext_a_key_or_a_credential(
    story: tuple[Story, list[str]], redis_server: Redis, postgres_server: Postgres
) -> None:
    """Requirements T-1, T-8: canary scan of PostgreSQL, Redis (each key's DUMP and the AOF), spool and logs."""
    told, databases = story
    secrets = dict(_secrets(told))
    assert {"a DEK of north", "the LEK of north", "a DEK of south", "the master key of south"} <= {
        name.split(" #")[0] for name in secrets
    }
    dumps = [(address, _pg_dump(address)) for address in databases]
    with redis.Redis.from_url(redis_server.url) as client:
        dumps += [(f"redis {key!r}", client.dump(key) + key) for key in client.scan_iter()]
    dumps += secrets_of.files(
        redis_server.folder, told.stage.folder / "logs", told.stage.folder / "proxy", told.clinic.folder
    )
    assert len(dumps) > 8
    leaks = [
        f"{where}: {name}"
        for where, dump in dumps
        for name, secret in secrets.items()
        for form in [secret, *(text.encode() for text in canary.forms(secret))]
        if form in dump
    ]
    assert leaks == []


def test_the_scan_would_find_a_leak(story: tuple[Story, list[str]]) -> None:
    """What the scan looks for is really what lies where it may lie: the tenant's key file, the proxy's secrets."""
    told, _ = story
    secrets = dict(_secrets(told))
    allowed = b"".join(
        content for _, content in secrets_of.files(told.stage.folder / "tenants", told.stage.folder / "secrets")
    )
    assert set(canary.forms(secrets["the master key of north"])) & {
        text for text in canary.forms(secrets["the master key of north"]) if text.encode() in allowed
    }
    assert secrets["the SaaS's API key"] in allowed


def _secrets(told: Story) -> Iterator[tuple[str, bytes]]:
    for number, (name, key) in enumerate(secrets_of.keys(told)):
        yield (name if name.startswith("the ") else f"{name} #{number}"), key
    for tenant in PATIENTS.values():
        for _, name, born, notes in tenant:
            yield f"the name {name}", name.encode()
            yield f"the birth date {born}", born.encode()
            if notes:
                yield f"the notes of {name}", notes.encode()
    yield "the SaaS's API key", told.proxy.api_key.encode()
    yield "north's Splunk token", told.stage.siem.hec_token.encode()
    yield "south's webhook secret", told.stage.siem.hook_secret.encode()
    yield "a password", told.password.encode()
    for file in (told.stage.folder / "secrets").iterdir():
        yield f"the secret {file.name}", file.read_bytes().strip()


def _pg_dump(address: str) -> bytes:
    program = need("pg_dump", "postgresql", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    return subprocess.run(
        [program, address], capture_output=True, check=True, env={**os.environ, "PGPASSWORD": ""}
    ).stdout
