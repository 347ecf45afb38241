"""The operator sees what a SIEM would not take, and sends it again: from the spool and from Redis."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

from django.core.management import call_command

from tests.support.people import NORTH, VENDOR, event
from tsp.audit.spool import SpoolTrail
from tsp.audit.stream import StreamTrail, connect
from tsp.audit.stream_source import StreamSource


def _run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("tsp_dead_letters", *arguments, stdout=out)
    return out.getvalue()


async def _bury_in_spool(folder: Path, reason: str) -> str:
    spool, one = SpoolTrail(folder), event()
    await spool.record([one])
    [entry] = await spool.read(NORTH, 1)
    await spool.bury(NORTH, entry, reason)
    spool.close()
    return one.id


async def _waiting_in_spool(folder: Path) -> list[str]:
    spool = SpoolTrail(folder)
    await spool.queues()
    found = [entry.event.id for entry in await spool.read(NORTH, 9)]
    spool.close()
    return found


async def _bury_in_redis(url: str, folder: Path, reason: str) -> str:
    redis, spool, one = connect(url), SpoolTrail(folder), event()
    trail, source = StreamTrail(redis, VENDOR, spool), StreamSource(redis, VENDOR)
    await trail.start()
    await trail.record([one])
    [entry] = await source.read(NORTH, 1)
    await source.bury(NORTH, entry, reason)
    await trail.close()
    spool.close()
    return one.id


async def _waiting_in_redis(url: str) -> list[str]:
    redis = connect(url)
    found = [entry.event.id for entry in await StreamSource(redis, VENDOR).read(NORTH, 9)]
    await redis.aclose()
    return found


def test_dead_letters_of_the_spool(tmp_path: Path, settings: Any) -> None:
    settings.TSP_STATE_DIR, settings.TSP_REDIS_URL = str(tmp_path), ""
    folder = tmp_path / "proxy" / "audit"
    name = asyncio.run(_bury_in_spool(folder, "the receiver answered 400"))

    [line] = _run().splitlines()
    assert line.startswith(f"{NORTH}  {name}")
    assert line.endswith("the receiver answered 400")
    assert _run("--redrive", "south") == ""
    assert _run("--redrive", NORTH) == f"1 events of {NORTH} will be sent again\n"

    assert asyncio.run(_waiting_in_spool(folder)) == [name]
    assert _run() == ""


def test_dead_letters_in_redis(tmp_path: Path, settings: Any, redis_url: str) -> None:
    settings.TSP_STATE_DIR, settings.TSP_REDIS_URL, settings.CMK_VENDOR = str(tmp_path), redis_url, VENDOR
    name = asyncio.run(_bury_in_redis(redis_url, tmp_path / "spool", "the receiver answered 422"))

    assert name in _run()
    assert _run("--redrive", NORTH) == f"1 events of {NORTH} will be sent again\n"

    assert asyncio.run(_waiting_in_redis(redis_url)) == [name]
    assert _run() == ""
