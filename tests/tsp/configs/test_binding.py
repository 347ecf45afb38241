"""The broker cannot pass one record off as another, nor bring back an old one. T-4, T-5."""

from __future__ import annotations

import itertools
import shutil
from typing import Any

import pytest

from tests.support.people import NORTH, SOUTH, VENDOR, document, key_id, sealed_record
from tests.tsp.configs.conftest import World, chain, works
from tsp.configs import SharedMarks
from tsp.configs.admission import Mark
from tsp.contract.sealed import Record
from tsp.contract.tenant import SiemBody
from tsp.kms.local import set_enabled


async def test_refuses_every_swap_of_records_between_tenants_and_kinds(world: World) -> None:
    """T-4: all n² swaps between 5 tenants and 2 kinds are refused, with an event that says why."""
    configs = world.restart()
    owners = [(f"tenant-{at}", kind, 10 * at + n) for at in range(5) for n, kind in enumerate(("kms", "siem"), 1)]
    body = {"kms": None, "siem": SiemBody("webhook", {"url": "https://siem.example", "secret": "x"})}
    honest = {
        owner: sealed_record(document(owner[0], owner[2], body=body[owner[1]], key_file=world.key_file()))
        for owner in owners
    }
    swaps = [
        Record(tenant=to[0], config=to[2], kind=to[1], version=1, boxes=honest[whose].boxes)  # type: ignore[arg-type]
        for whose, to in itertools.permutations(owners, 2)
    ]

    for swap in swaps:
        world.feed.records.append(swap)
        await configs.refresh()

    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "config_binding_mismatch")] * len(swaps)
    assert len(swaps) == 90


@pytest.mark.parametrize(
    "outside", [{"tenant": SOUTH}, {"config": 2}, {"version": 2}], ids=["tenant", "configuration", "version"]
)
async def test_refuses_what_the_broker_relabelled(world: World, outside: dict[str, Any]) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()), **outside)]

    await configs.refresh()

    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "config_binding_mismatch")]


async def test_refuses_another_vendors_document(world: World) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file(), vendor="evil"))]

    await configs.refresh()

    assert world.mail.actions() == [("config.refused", "config_binding_mismatch")]


async def test_refuses_a_copy_that_was_made_for_another_of_our_keys(world: World) -> None:
    """A copy says which key it is for; the broker cannot reseal, but it must not be able to shuffle copies either."""
    record = sealed_record(document(key_file=world.key_file()), "first")
    other = sealed_record(document(key_file=world.key_file(), key="first"), "second")
    configs = world.restart()
    world.feed.records = [
        Record(NORTH, 1, "kms", 1, {key_id("first"): other.boxes[key_id("second")]}),
        Record(SOUTH, 1, "kms", 1, {key_id("second"): record.boxes[key_id("first")]}),
    ]

    await configs.refresh()

    assert world.mail.actions() == [("config.refused", "cannot_open")] * 2


async def test_refuses_every_replayed_version(world: World) -> None:
    """T-5: n versions in service, v1 to v(n-1) played again: n-1 refusals, and the last one goes on."""
    configs = world.restart()
    records = chain(world, 6)
    for record in records:
        world.feed.records = [record]
        await configs.refresh()
    world.mail.sent.clear()

    for record in records[:-1]:
        world.feed.records = [record]
        await configs.refresh()

    assert world.mail.actions() == [("config.refused", "replayed")] * 5
    assert configs.tenant(NORTH).primary().version == 6
    assert works(configs.tenant(NORTH))


async def test_refuses_another_record_under_an_accepted_version(world: World) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()))]
    await configs.refresh()
    world.feed.records = [sealed_record(document(key_file=world.key_file("other")))]

    await configs.refresh()

    assert world.mail.actions()[1:] == [("config.refused", "replayed")]


async def test_refuses_a_version_that_does_not_follow_the_accepted_one(world: World) -> None:
    configs = world.restart()
    world.feed.records = chain(world, 1)
    await configs.refresh()
    world.feed.records = [sealed_record(document(key_file=world.key_file(), version=2, previous="0" * 64))]

    await configs.refresh()

    assert world.mail.actions()[1:] == [("config.refused", "broken_chain")]
    assert configs.tenant(NORTH).primary().version == 1


async def test_several_versions_at_once_are_followed_to_the_newest(world: World) -> None:
    configs = world.restart()
    first, *others = chain(world, 4)
    world.feed.records = [first]
    await configs.refresh()
    world.feed.records = others

    await configs.refresh()

    assert configs.tenant(NORTH).primary().version == 4


@pytest.mark.parametrize("wiped", ["disk", "redis", "nothing"])
async def test_refuses_a_replay_when_one_of_the_two_stores_is_wiped(world: World, redis_url: str, wiped: str) -> None:
    """T-5: the marks are on disk and in Redis; an attacker who empties one of them gains nothing."""
    from redis.asyncio import Redis

    redis = Redis.from_url(redis_url)
    configs = world.restart(shared=SharedMarks(redis, VENDOR))
    records = chain(world, 3)
    for record in records:
        world.feed.records = [record]
        await configs.refresh()

    if wiped == "disk":
        shutil.rmtree(world.folder / "state")
    elif wiped == "redis":
        await redis.flushall()
    world.feed.down = wiped != "disk"
    again = world.restart()
    await again.refresh()
    world.feed.down = False
    world.mail.sent.clear()
    for _ in range(3):  # what only Redis knows is believed at the second look
        world.feed.records = records[:2]
        await again.refresh()
        world.feed.records = []
        await again.refresh()

    assert ("config.refused", "replayed") in world.mail.actions()
    assert not {action for action, _ in world.mail.actions()} & {"config.accepted", "config.first_seen"}
    assert wiped == "disk" or again.tenant(NORTH).primary().version == 3
    assert wiped != "disk" or again.tenants() == []
    await redis.aclose()


async def test_what_another_proxy_accepted_is_not_tried_out_again(world: World, redis_url: str) -> None:
    from redis.asyncio import Redis

    redis = Redis.from_url(redis_url)
    record = chain(world, 1)[0]
    await SharedMarks(redis, VENDOR).put({(NORTH, "kms", 1): Mark(1, record.hash)})
    set_enabled(world.key_file(), False)  # a trial would be refused
    configs = world.restart(shared=SharedMarks(redis, VENDOR))
    world.feed.records = [record]

    await configs.refresh()

    assert configs.tenant(NORTH).primary().version == 1
    await redis.aclose()


async def test_a_redis_that_is_down_does_not_keep_a_configuration_out(world: World) -> None:
    from tests.support.processes import free_port
    from tsp.audit.stream import connect

    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    configs = world.restart(shared=SharedMarks(redis, VENDOR))
    world.feed.records = chain(world, 1)

    await configs.refresh()

    assert works(configs.tenant(NORTH))
    await redis.aclose()
