"""SIGKILL at named places of the way of an event: no key that left is without its event, none has two. Q-9, R-22."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.feed import FeedServer
from tests.support.hec import Hook
from tests.support.ledger import balance
from tests.support.people import NORTH, SOUTH
from tests.support.processes import Process
from tests.support.proxy import Proxy, worker
from tests.support.redis import Redis
from tests.support.saas import Saas

LAUNCHER = ("-m", "tests.support.crash_at")
SPOOL = {
    "before the spool's write": "pwrite:call:40",
    "on disk, not said": "pwrite:return:40",
    "before the reply": "send:call:60@httptools_impl.py",
    "before it is shipped": "send:call:5@webhook.py",
    "shipped, not acknowledged": "send:return:5@webhook.py",
}
STREAM = {
    "before Redis is asked": "send_packed_command:call:300@connection.py",
    "Redis has it, no reply read": "read_response:call:450@connection.py",
}
DRAIN = {
    "before the drain sends": "_send:call:1@stream.py",
    "drained, not acknowledged": "ack:call:1@spool.py",
}

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("place", SPOOL)
def test_a_crash_on_the_way_through_the_spool(feed: FeedServer, hook: Hook, tmp_path: Path, place: str) -> None:
    """I4, R-25: the proxy alone, from the request to the log server."""
    proxy = Proxy(tmp_path, feed, launcher=LAUNCHER, CMK_CRASH_AT=SPOOL[place])
    proxy.ready()
    load = Saas([proxy.port], [NORTH, SOUTH], threads=4)
    _killed(proxy.process)
    _again(proxy)
    _balances(load, hook)
    proxy.process.stop()


@pytest.mark.parametrize("place", STREAM)
def test_a_crash_on_the_way_to_redis(
    feed: FeedServer, hook: Hook, redis: Redis, tmp_path: Path, place: str, shipping: Callable[[], None]
) -> None:
    """R-10: with a worker that ships; the transaction that nobody heard of again is not sent twice."""
    proxy = Proxy(tmp_path, feed, launcher=LAUNCHER, CMK_CRASH_AT=STREAM[place], TSP_REDIS_URL=redis.url)
    proxy.ready()
    load = Saas([proxy.port], [NORTH, SOUTH], threads=4)
    _killed(proxy.process)
    _again(proxy)
    shipping()
    _balances(load, hook)
    proxy.process.stop()


@pytest.mark.parametrize("place", DRAIN)
def test_a_crash_while_the_spool_is_drained(
    feed: FeedServer, hook: Hook, redis: Redis, tmp_path: Path, place: str, shipping: Callable[[], None]
) -> None:
    """R-9: what Redis has already is brought once more at most, under the same id."""
    redis.kill()
    proxy = Proxy(tmp_path, feed, launcher=LAUNCHER, CMK_CRASH_AT=DRAIN[place], TSP_REDIS_URL=redis.url)
    proxy.ready()
    load = Saas([proxy.port], [NORTH, SOUTH], threads=4)
    while load.served() < 100:
        time.sleep(0.05)
    redis.start()
    _killed(proxy.process)
    _again(proxy)
    shipping()
    _balances(load, hook)
    proxy.process.stop()


@pytest.fixture
def shipping(feed: FeedServer, redis: Redis, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Starts a worker."""
    started: list[Process] = []

    def start() -> None:
        started.append(worker(tmp_path, feed, "--concurrency", "1", TSP_REDIS_URL=redis.url))

    yield start
    for process in started:
        process.child.kill()
        process.stop()


def _killed(process: Process) -> None:
    """It came by the place."""
    assert process.child.wait(60) == -9, process.output()[-2000:]
    process.stop()


def _again(proxy: Proxy) -> None:
    """The proxy as it is."""
    proxy.start()
    proxy.ready()


def _balances(load: Saas, hook: Hook) -> None:
    before = load.served()
    while load.served() < before + 40:
        time.sleep(0.05)
    calls = load.stop()
    until = time.monotonic() + 60
    while (found := balance(calls, list(hook.events))).faults and time.monotonic() < until:
        time.sleep(0.3)
    assert found.faults == ()
    assert found.released > 40
    assert any(call.status == 0 for call in calls)
