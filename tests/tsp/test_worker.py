"""What a worker does for the fleet: one call to a key service renews a lease for all; one ships at a time."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import redis

from encrypted_fields.core.context import KeyContext
from tests.support.feed import TOKEN, FeedServer
from tests.support.people import NORTH, VENDOR, document, private_keys, sealed_record
from tsp import edek
from tsp.conf import TspSettings
from tsp.contract.options import load
from tsp.egress import Egress
from tsp.kms.local import LocalKms, create_key_file, set_enabled
from tsp.worker import Worker


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[FeedServer]:
    create_key_file(tmp_path / "key")
    found = FeedServer()
    found.records = [sealed_record(document(key_file=tmp_path / "key", leased=True), sequence=1)]
    yield found
    found.stop()


@pytest.fixture
def start(feed: FeedServer, redis_url: str, tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    started: list[Worker] = []
    conf = TspSettings(
        vendor=VENDOR,
        host="",
        port=0,
        ops_port=0,
        name="tsp-1",
        state_dir=tmp_path,
        refresh_seconds=1,
        egress_allow=("127.0.0.0/8",),
        allow_local_kms=True,
        broker_url=feed.url,
        api_key="",
        api_key_2="",
        private_keys=private_keys(),
        broker_token=TOKEN,
        redis_url=redis_url,
    )

    def make() -> Worker:
        started.append(Worker(conf, tmp_path / f"worker-{len(started)}"))
        return started[-1]

    yield make
    for worker in started:
        worker.close()


def _lease(path: Path) -> bytes:
    """The ELEK of a leased key of tenant north, as a proxy makes it."""
    context, key = KeyContext(VENDOR, NORTH, 1, "lek"), bytearray(os.urandom(32))
    adapter = LocalKms(load(LocalKms.Config, {"key_file": str(path)}), Egress())
    return edek.direct(key, context, adapter.wrap(key, context))


def _announce(redis_url: str, elek: bytes) -> None:
    member = f"{NORTH}:1:{sha256(elek).hexdigest()}"
    with redis.Redis.from_url(redis_url) as client:
        client.zadd(f"cmk:lease:{VENDOR}:used", {member: time.time()})
        client.set(f"cmk:lease:{VENDOR}:elek:{member}", elek)


def test_a_lease_in_use_is_renewed_once(start: Callable[[], Worker], redis_url: str, tmp_path: Path) -> None:
    _announce(redis_url, _lease(tmp_path / "key"))
    first, second = start(), start()

    assert first.run(first.renew()) == 1
    assert second.run(second.renew()) == 0
    with redis.Redis.from_url(redis_url) as client:
        [(_, fields)] = client.xrange(f"cmk:{VENDOR}:audit:{NORTH}")
    assert b"lease.renewed" in fields[b"e"]


def test_a_refused_lease_is_told(start: Callable[[], Worker], redis_url: str, tmp_path: Path) -> None:
    _announce(redis_url, _lease(tmp_path / "key"))
    worker = start()
    set_enabled(tmp_path / "key", False)

    assert worker.run(worker.renew()) == 0

    with redis.Redis.from_url(redis_url) as client:
        assert client.zrange(f"cmk:lease:{VENDOR}:refused", 0, -1) == [f"{NORTH}:1".encode()]
        [(_, fields)] = client.xrange(f"cmk:{VENDOR}:audit:{NORTH}")
    assert b"lease.refused" in fields[b"e"]


def test_one_worker_ships_at_a_time_and_gives_the_turn_back(start: Callable[[], Worker]) -> None:
    first, second = start(), start()
    outcome: list[bool] = []
    shipping = threading.Thread(target=lambda: outcome.append(first.run(first.ship(1.5))))
    shipping.start()
    time.sleep(0.5)

    assert not second.run(second.ship(0.1))
    shipping.join()
    assert second.run(second.ship(0.1))
    assert outcome == [True]


def test_a_worker_without_redis_is_a_mistake(start: Callable[[], Worker], tmp_path: Path) -> None:
    conf = dataclasses.replace(start().conf, redis_url="")
    with pytest.raises(ValueError, match="TSP_REDIS_URL"):
        Worker(conf, tmp_path / "alone")
