"""The control side as one: feed, disk, trail and receivers over real sockets. T-6, R-9, R-13, R-16."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.feed import TOKEN, FeedServer
from tests.support.hec import Hook
from tests.support.people import NORTH, VENDOR, document, event, private_keys, sealed_record
from tsp.conf import TspSettings
from tsp.contract import events
from tsp.contract.sealed import Record
from tsp.contract.tenant import SiemBody
from tsp.control import Control
from tsp.kms.local import create_key_file

SECRET = "whsec_" + base64.b64encode(b"the signing secret of the tests!").decode()


@pytest.fixture
def feed() -> Iterator[FeedServer]:
    found = FeedServer()
    yield found
    found.stop()


@pytest.fixture
def hooks() -> Iterator[Callable[[], Hook]]:
    started: list[Hook] = []

    def start() -> Hook:
        started.append(Hook(SECRET))
        return started[-1]

    yield start
    for hook in started:
        hook.stop()


@pytest.fixture
async def control(feed: FeedServer, tmp_path: Path) -> AsyncIterator[Callable[..., Control]]:
    started: list[Control] = []

    def make(folder: str = "state", redis: str = "", worker: bool = False) -> Control:
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
            redis_url=redis,
        )
        started.append(Control(conf, tmp_path / folder, worker=worker))
        return started[-1]

    yield make
    for one in started:
        await one.close()


Make = Callable[..., Control]


def _siem(hook: Hook, version: int, previous: str = "", sequence: int = 0) -> Record:
    body = SiemBody("webhook", {"url": hook.url + "/cmk", "secret": SECRET})
    return sealed_record(document(NORTH, 9, body=body, version=version, previous=previous), sequence=sequence)


def _actions(hook: Hook) -> list[str]:
    return [one["action"] for one in hook.events]


async def _shipped(one: Control) -> None:
    until = time.monotonic() + 5
    while True:
        await one.shipper.tick()
        await one.shipper.settle()
        if not [queue for queue in await one.source.queues() if one.shipper._mine(queue)]:
            return
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def test_an_event_reaches_the_receiver_that_the_tenant_sealed(
    feed: FeedServer, hooks: Callable[[], Hook], control: Make
) -> None:
    hook, one = hooks(), control()
    feed.records = [_siem(hook, 1, sequence=1)]
    await one.start()

    made = event()
    await one.trail.record([made])
    await _shipped(one)

    assert made.id in [got["id"] for got in hook.events]
    assert feed.reports[0]["results"][0]["state"] == "active"
    assert feed.asked[0] == ("/api/proxy/configs?after=0", "")


async def test_the_old_receiver_always_hears_that_it_was_replaced(
    feed: FeedServer, hooks: Callable[[], Hook], control: Make
) -> None:
    """T-6: the event is kept until the previous SIEM has it, over a restart too, and the new one has it as well."""
    old, new = hooks(), hooks()
    first = _siem(old, 1, sequence=1)
    feed.records = [first]
    one = control()
    await one.start()
    await _shipped(one)
    old.mode = "busy"
    feed.records.append(_siem(new, 2, first.hash, sequence=2))

    await one.configs.refresh()
    await one.shipper.tick()
    await one.shipper.settle()
    assert one.configs.tenant(NORTH).siem is not None
    assert one.configs.tenant(NORTH).siem.version == 2  # type: ignore[union-attr]
    assert events.SIEM_CHANGED in _actions(new)
    assert events.SIEM_CHANGED not in _actions(old)
    await one.close()
    old.mode = "ok"
    again = control("state")
    await again.start()
    await _shipped(again)

    farewell = [got for got in old.events if got["action"] == events.SIEM_CHANGED]
    assert [got["custom"] for got in farewell] == [{"version": "1", "to": "9/2"}]
    assert await again.source.queues() == []


async def test_a_receiver_that_the_broker_switches_off_is_told(
    feed: FeedServer, hooks: Callable[[], Hook], control: Make
) -> None:
    """T-6."""
    hook, one = hooks(), control()
    feed.records = [_siem(hook, 1, sequence=1)]
    await one.start()
    feed.disabled = [9]

    await one.configs.refresh()
    await _shipped(one)

    assert one.configs.tenant(NORTH).siem is None
    assert hook.events[-1]["custom"] == {"version": "1", "to": "none"}


async def test_a_new_receiver_that_does_not_answer_does_not_replace_the_old_one(
    feed: FeedServer, hooks: Callable[[], Hook], control: Make
) -> None:
    """R-32, T-6."""
    old, new = hooks(), hooks()
    new.mode = "busy"
    first = _siem(old, 1, sequence=1)
    feed.records = [first, _siem(new, 2, first.hash, sequence=2)][:1]
    one = control()
    await one.start()
    feed.records.append(_siem(new, 2, first.hash, sequence=2))

    await one.configs.refresh()

    assert one.configs.tenant(NORTH).siem.version == 1  # type: ignore[union-attr]
    assert feed.reports[-1]["results"][-1]["reason"] == "siem_unreachable"
    await _shipped(one)
    assert _actions(old)[-1] == events.CONFIG_REFUSED
    new.mode = "ok"
    await one.configs.refresh()
    assert one.configs.tenant(NORTH).siem.version == 2  # type: ignore[union-attr]


async def test_with_redis_the_proxy_records_and_a_worker_ships(
    feed: FeedServer, hooks: Callable[[], Hook], control: Make, redis_url: str
) -> None:
    hook = hooks()
    feed.records = [_siem(hook, 1, sequence=1)]
    proxy, worker = control("proxy", redis_url), control("worker", redis_url, worker=True)
    await proxy.start()
    await worker.start()
    made = [event() for _ in range(30)]
    await proxy.trail.record(made)

    await _shipped(proxy)
    assert not {one.id for one in made} & {got["id"] for got in hook.events}
    await _shipped(worker)

    assert {one.id for one in made} <= {got["id"] for got in hook.events}
    assert len(feed.reports) == 1


async def test_runs_by_itself_and_ends_when_cancelled(
    feed: FeedServer, hooks: Callable[[], Hook], control: Make, tmp_path: Path
) -> None:
    hook, one = hooks(), control()
    await one.start()
    running = asyncio.create_task(one.run())
    key = tmp_path / "key"
    create_key_file(key)
    feed.records = [_siem(hook, 1, sequence=1), sealed_record(document(key_file=key), sequence=2)]
    until = time.monotonic() + 10
    while NORTH not in one.configs.tenants() or len(hook.events) < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert one.configs.tenant(NORTH).primary().config == 1
