"""Real Celery workers on a real Redis: events reach a real receiver, whatever is killed or forged. R-22, R-24, T-9."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support import canary
from tests.support.feed import TOKEN, FeedServer
from tests.support.hec import Hook
from tests.support.people import NORTH, VENDOR, document, event, private_keys, sealed_record
from tests.support.processes import Process
from tsp.audit.spool import SpoolTrail
from tsp.audit.stream import StreamTrail, connect
from tsp.contract.tenant import SiemBody

SECRET = "whsec_" + base64.b64encode(b"the signing secret of the tests!").decode()

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook(SECRET)
    yield found
    found.stop()


@pytest.fixture
def feed(hook: Hook) -> Iterator[FeedServer]:
    found = FeedServer()
    body = SiemBody("webhook", {"url": hook.url + "/cmk", "secret": SECRET})
    found.records = [sealed_record(document(NORTH, 9, body=body), sequence=1)]
    yield found
    found.stop()


@pytest.fixture
def start(feed: FeedServer, redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `celery --app cmk_project.celery …` as an operator does."""
    started: list[Process] = []
    canary.register("a worker's private key", private_keys())
    env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    env |= {
        "DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp",
        "CMK_STAGE": "development",
        "CMK_VENDOR": VENDOR,
        "TSP_API_KEY": base64.b64encode(os.urandom(32)).decode(),
        "TSP_PRIVATE_KEYS": private_keys(),
        "TSP_BROKER_URL": feed.url,
        "TSP_BROKER_TOKEN": TOKEN,
        "TSP_REDIS_URL": redis_url,
        "TSP_STATE_DIR": str(tmp_path / "state"),
        "TSP_EGRESS_ALLOW": "127.0.0.0/8",
        "TSP_REFRESH_SECONDS": "1",
    }

    def run(*arguments: str) -> Process:
        command = [sys.executable, "-m", "celery", "--app", "cmk_project.celery", *arguments]
        started.append(Process(command, tmp_path / f"log-{len(started)}", env=env))
        return started[-1]

    yield run
    for process in started:
        process.child.kill()
        process.stop()
        assert not canary.leaks(process.output())


def _worker(start: Callable[..., Process]) -> Process:
    return start("worker", "--loglevel", "INFO", "--concurrency", "1")


def _record(redis_url: str, folder: Path, count: int) -> set[str]:
    async def record() -> set[str]:
        spool = SpoolTrail(folder)
        trail = StreamTrail(connect(redis_url), VENDOR, spool)
        await trail.start()
        made = [event() for _ in range(count)]
        await trail.record(made)
        await trail.close()
        spool.close()
        return {one.id for one in made}

    return asyncio.run(record())


def _await(condition: Callable[[], bool], seconds: float, *processes: Process) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "\n".join(process.output()[-3000:] for process in processes)
        time.sleep(0.05)


def _arrived(hook: Hook) -> set[str]:
    return {one["id"] for one in hook.events}


def test_a_worker_ships_to_the_tenants_receiver_without_beat(
    start: Callable[..., Process], hook: Hook, redis_url: str, tmp_path: Path
) -> None:
    """R-24: nobody schedules anything; the second batch comes after the first turn is over."""
    worker = _worker(start)
    first = _record(redis_url, tmp_path / "spool", 250)
    _await(lambda: first <= _arrived(hook), 40, worker)
    time.sleep(11)

    second = _record(redis_url, tmp_path / "spool", 50)
    _await(lambda: second <= _arrived(hook), 20, worker)

    with redis.Redis.from_url(redis_url) as client:
        assert client.smembers(f"cmk:{VENDOR}:audit-queues") == set()


def test_kill_9_of_a_worker_that_ships_loses_nothing(
    start: Callable[..., Process], hook: Hook, redis_url: str, tmp_path: Path
) -> None:
    """R-22: another worker has all of it within a minute, and what comes twice has the same id."""
    worker = _worker(start)
    _await(lambda: len(hook.events) > 0, 40, worker)  # config.first_seen: it holds the lease
    hook.mode = "hang"
    made = _record(redis_url, tmp_path / "spool", 300)
    _await(lambda: len(hook.requests) > 1, 20, worker)
    os.killpg(worker.pid, 9)
    hook.released.set()
    hook.mode = "ok"

    other = _worker(start)

    _await(lambda: made <= _arrived(hook), 60, other)


def test_forged_messages_and_keys_change_nothing(
    start: Callable[..., Process], hook: Hook, redis_url: str, tmp_path: Path
) -> None:
    """T-9: 1,000 messages that whoever can write to Redis may leave there; no pickle is loaded, the worker goes on."""
    marker = tmp_path / "pickled"
    evil = base64.b64encode(pickle.dumps(_Evil(str(marker)))).decode()
    with redis.Redis.from_url(redis_url) as client:
        for at in range(250):
            headers = {"task": ["cmk.ship", "os.system", "cmk.refresh"][at % 3], "id": str(at), "lang": "py"}
            properties = {
                "delivery_tag": f"forged-{at}",
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": "cmk"},
                "delivery_mode": 2,
                "priority": 0,
                "correlation_id": str(at),
                "reply_to": "",
            }
            for kind in ("application/x-python-serialize", "application/json", "text/plain", "application/x-yaml"):
                message = {
                    "body": evil,
                    "content-type": kind,
                    "content-encoding": "binary",
                    "headers": headers,
                    "properties": properties,
                }
                client.lpush("cmk:celery:cmk", json.dumps(message))
    worker = _worker(start)
    made = _record(redis_url, tmp_path / "spool", 10)

    _await(lambda: made <= _arrived(hook), 60, worker)

    assert not marker.exists()


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_redis_holds_no_secret(start: Callable[..., Process], hook: Hook, redis_url: str, tmp_path: Path) -> None:
    """T-8: every key of Redis after a journey; the sealed credentials and the proxy's keys are not in it."""
    canary.register("the receiver's signing secret", SECRET)
    canary.register("the portal's token", TOKEN)
    worker = _worker(start)
    made = _record(redis_url, tmp_path / "spool", 10)
    _await(lambda: made <= _arrived(hook), 40, worker)
    _record(redis_url, tmp_path / "spool", 10)

    with redis.Redis.from_url(redis_url) as client:
        dumps = [client.dump(key) for key in client.scan_iter()]
    assert len(dumps) > 2
    assert not canary.leaks_in_bytes(b"".join(found for found in dumps if isinstance(found, bytes)))


def test_without_redis_it_says_what_to_set() -> None:
    """The application is for workers only."""
    code = "import cmk_project.celery"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp", "TSP_REDIS_URL": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "TSP_REDIS_URL is not set" in done.stderr
