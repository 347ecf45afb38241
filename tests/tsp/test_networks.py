"""Redis and the portal's database behind a network that fails in every way; the proxy's callers notice nothing."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.fault_proxy import FaultProxy, Faults, fault_proxy
from tests.support.feed import FeedServer
from tests.support.fleet import API_KEY, Fleet
from tests.support.hec import Hook
from tests.support.ledger import balance
from tests.support.people import NORTH, SOUTH
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy, worker
from tests.support.redis import Redis
from tests.support.saas import Saas
from tests.tsp.doubles import request

FAULTS = {
    "latency": Faults(latency=0.05),
    "bandwidth": Faults(bandwidth=20_000),
    "slice": Faults(slice=5),
    "drop": Faults(drop=True),
    "reset": Faults(reset=True),
    "blackhole": Faults(blackhole=True),
    "half-close": Faults(half_close=True),
    "replies cut": Faults(cut_reply_to=b"EXEC"),
}

pytestmark = pytest.mark.timeout(180)


def test_every_fault_between_proxy_and_redis_is_the_callers_no_concern(
    feed: FeedServer, hook: Hook, tmp_path: Path
) -> None:
    """R-9, R-10: one after the other under load; each request gets its key, each key has its event, once."""
    redis = Redis()
    with fault_proxy(redis.port) as network:
        url = f"redis://127.0.0.1:{network.port}/0"
        proxy = Proxy(tmp_path, feed, TSP_REDIS_URL=url)
        proxy.ready()
        load = Saas([proxy.port], [NORTH, SOUTH], threads=4)
        for faults in FAULTS.values():
            before = load.served()
            with network.told(faults):
                time.sleep(0.6)
                while load.served() < before + 20:
                    time.sleep(0.05)
            time.sleep(1.2)
        calls = load.stop()
        shipping = worker(tmp_path, feed, "--concurrency", "1", TSP_REDIS_URL=url)
        until = time.monotonic() + 60
        while (found := balance(calls, list(hook.events))).faults and time.monotonic() < until:
            time.sleep(0.5)
        shipping.child.kill()
        shipping.stop()
        proxy.process.stop()
    redis.stop()
    assert found.faults == ()
    assert {call.status for call in calls} == {200}


def test_a_worker_goes_on_when_a_silent_network_is_back(feed: FeedServer, hook: Hook, tmp_path: Path) -> None:
    """R-23: no reply and no end of the connection; without a time-out it would wait for its reply for ever."""
    redis = Redis()
    with fault_proxy(redis.port) as network:
        proxy = Proxy(tmp_path, feed, TSP_REDIS_URL=redis.url)
        shipping = worker(tmp_path, feed, "--concurrency", "1", TSP_REDIS_URL=f"redis://127.0.0.1:{network.port}/0")
        proxy.ready()
        _shipped(proxy, hook)
        with network.told(Faults(blackhole=True)):
            time.sleep(5.0)
        _shipped(proxy, hook)
        shipping.child.kill()
        shipping.stop()
        proxy.process.stop()
    redis.stop()


def _shipped(proxy: Proxy, hook: Hook) -> None:
    """Waits until the event of a new key has arrived; a lease to ship that nobody gives back takes 30 s."""
    before, until = len(hook.events), time.monotonic() + 75
    proxy.post("document/wrap", request(NORTH))
    while not any(event["action"] == "dek.wrap" for event in hook.events[before:]):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[FaultProxy]:
    with fault_proxy(postgres_server.port) as found:
        yield found


def test_without_the_portals_database_keys_are_served(
    database: FaultProxy, postgres_server: Postgres, tmp_path: Path
) -> None:
    """R-14, R-15: the proxy never asks it; the portal says that it cannot, and is whole when the database is back."""
    fleet = Fleet(tmp_path, postgres_server, proxies=1, database_port=database.port)
    try:
        edeks = {name: _ask(fleet, "document/wrap", name)["edek"] for name in ("a", "b")}
        for faults in (Faults(reset=True), Faults(drop=True), Faults(half_close=True)):
            with database.told(faults):
                for name, edek in edeks.items():
                    assert "dek" in _ask(fleet, "document/unwrap", name, encryptedDocumentKey=edek)
                assert _portal(fleet) >= 500
        assert _portal(fleet) == 200
    finally:
        fleet.stop()
    with psycopg.connect(fleet.database) as connection:
        assert connection.execute("SELECT count(*) FROM broker_tenant").fetchone() == (2,)


def _ask(fleet: Fleet, route: str, tenant: str, **more: str) -> dict[str, str]:
    asked = urllib.request.Request(
        f"{fleet.urls[0]}/api/1/{route}",
        json.dumps(request(tenant, **more)).encode(),
        {"Authorization": f"cmk {API_KEY}"},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return dict(json.load(answer))


def _portal(fleet: Fleet) -> int:
    """The status of its feed, as a proxy asks for it."""
    asked = urllib.request.Request(
        f"{fleet.portal}/api/proxy/configs?after=0", headers={"Authorization": f"Bearer {fleet.token}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
