"""SIGKILL, twenty times, of the proxy and of Redis, under load: every key that left has its event, once. R-10, R-25."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.feed import FeedServer
from tests.support.hec import Hook
from tests.support.ledger import Balance, balance
from tests.support.people import NORTH, SOUTH
from tests.support.proxy import Proxy, worker
from tests.support.redis import Redis
from tests.support.saas import Call, Saas

KILLS = 20

pytestmark = pytest.mark.timeout(400)


def _await(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _settled(calls: list[Call], hook: Hook) -> Balance:
    """The balance, when everything that is on its way to the log server has had the time to arrive."""
    until = time.monotonic() + 60.0
    while (found := balance(calls, list(hook.events))).faults and time.monotonic() < until:
        time.sleep(0.5)
    return found


def test_twenty_kills_of_the_proxy_lose_and_double_no_event(feed: FeedServer, hook: Hook, tmp_path: Path) -> None:
    """R-25, I4: it is ready again within five seconds, too, and no key is doubled or lost in the log server."""
    proxy = Proxy(tmp_path, feed)
    proxy.ready()
    load = Saas([proxy.port], [NORTH, SOUTH])
    took = []
    for _ in range(KILLS):
        before = load.served()
        _await(lambda before=before: load.served() >= before + 25)  # type: ignore[misc]
        proxy.kill()
        proxy.start()
        took.append(proxy.ready())
    before = load.served()
    _await(lambda: load.served() >= before + 25)
    calls = load.stop()
    found = _settled(calls, hook)
    proxy.process.stop()
    print(f"{KILLS} kills: {found}; ready again after {min(took):.1f} to {max(took):.1f} s")
    assert found.faults == ()
    assert found.released > 20 * KILLS
    assert min(took) < 5.0  # each of them on a machine that does nothing else
    assert sum(call.status == 0 for call in calls) >= KILLS / 2  # it was killed while it worked


def test_twenty_kills_of_redis_lose_and_double_no_event(
    feed: FeedServer, hook: Hook, redis: Redis, tmp_path: Path
) -> None:
    """R-10, R-9, I4: proxy and worker go on; spool, streams and log server together have each event once."""
    proxy = Proxy(tmp_path, feed, TSP_REDIS_URL=redis.url)
    proxy.ready()
    shipping = worker(tmp_path, feed, "--concurrency", "1", TSP_REDIS_URL=redis.url)
    load = Saas([proxy.port], [NORTH, SOUTH])
    for _ in range(KILLS):
        before = load.served()
        _await(lambda before=before: load.served() >= before + 25)  # type: ignore[misc]
        redis.kill()
        before = load.served()
        _await(lambda before=before: load.served() >= before + 25)  # type: ignore[misc]  on the local spool
        redis.start()
        time.sleep(0.5)
    calls = load.stop()
    found = _settled(calls, hook)
    assert shipping.child.poll() is None
    shipping.child.kill()
    shipping.stop()
    proxy.process.stop()
    print(f"{KILLS} kills of Redis: {found}")
    assert found.faults == ()
    assert found.released > 40 * KILLS
    assert {call.status for call in calls} == {200}  # nobody noticed
