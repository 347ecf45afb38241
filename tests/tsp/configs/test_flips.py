"""Configurations that change under load, good ones and bad ones by turns. R-32."""

from __future__ import annotations

import asyncio

from tests.support.people import NORTH, document, sealed_record
from tests.tsp.configs.conftest import World, chain, works
from tsp.contract.tenant import KmsBody

_BAD = (KmsBody("local", {}), KmsBody("abacus", {}), KmsBody("local", {"key_file": "/nowhere/key"}))


async def test_a_hundred_flips_fail_no_request(world: World) -> None:
    """R-32: each second version does not work; whoever asks meanwhile gets keys from the one that does."""
    configs = world.restart()
    [record] = world.feed.records = chain(world, 1)
    await configs.refresh()
    outcomes: list[bool] = []
    stop = False

    async def use() -> None:
        while not stop:
            outcomes.append(await asyncio.to_thread(works, configs.tenant(NORTH)))

    using = [asyncio.create_task(use()) for _ in range(4)]
    for flip in range(100):
        body = None if flip % 2 else _BAD[flip // 2 % len(_BAD)]
        path, version = world.key_file(f"key-{flip % 4}"), flip + 2
        made = document(NORTH, key_file=path, body=body, version=version, previous=record.hash)
        record = sealed_record(made, sequence=version)
        world.feed.records = [record]
        await configs.refresh()
    stop = True
    await asyncio.gather(*using)
    assert len(outcomes) > 100
    assert all(outcomes)
    assert configs.tenant(NORTH).primary().version == 101
    assert [one.version for one in world.feed.results if one.state == "active"] == [1, *range(3, 102, 2)]
