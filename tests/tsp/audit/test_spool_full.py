"""A spool that is full, or whose disk is full or broken: refused or counted, as the tenant chose. R-9, R-29."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from encrypted_fields.core.errors import AuditUnavailable
from tests.support.failing_disk import failing
from tests.support.people import NORTH, SOUTH, event
from tsp.audit.segments import Segment
from tsp.audit.spool import SpoolTrail
from tsp.contract import events


async def _ids(trail: SpoolTrail, queue: str) -> list[str]:
    return [entry.event.id for entry in await trail.read(queue, 1_000_000)]


async def test_a_full_spool_refuses_strict_tenants(tmp_path: Path) -> None:
    """R-29. Nothing that was taken is lost, nothing that was refused is kept."""
    trail = SpoolTrail(tmp_path, max_events=8)
    taken = [event() for _ in range(6)]
    for one in taken:
        await trail.record([one])

    with pytest.raises(AuditUnavailable):
        await trail.record([event()])

    assert await _ids(trail, NORTH) == [one.id for one in taken]
    trail.close()


async def test_a_flood_from_one_tenant_leaves_room_for_another(tmp_path: Path) -> None:
    """R-29: ten times its share changes nothing for the others."""
    trail = SpoolTrail(tmp_path, max_events=100, when_full=lambda tenant: "count" if tenant == NORTH else "refuse")
    for _ in range(100):
        await trail.record([event() for _ in range(10)])

    for _ in range(15):
        await trail.record([event(tenant=SOUTH)])

    assert len(await trail.read(SOUTH, 100)) == 15
    trail.close()


async def test_a_batch_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    trail = SpoolTrail(tmp_path, max_events=8)
    with pytest.raises(AuditUnavailable):
        await trail.record([event() for _ in range(8)])
    assert trail.pending == 0
    await trail.record([event() for _ in range(6)])
    trail.close()


async def test_what_was_dropped_is_counted_exactly_and_told(tmp_path: Path) -> None:
    """R-29: count and time range, over a restart too."""
    trail = SpoolTrail(tmp_path, max_events=8, when_full=lambda tenant: "count")
    kept = [event(time=f"2026-01-01T00:00:{at:02d}.000Z") for at in range(6)]
    lost = [event(time=f"2026-01-02T00:00:{at:02d}.000Z") for at in range(25)]
    for one in kept + lost[:20]:
        await trail.record([one])
    trail.close()
    trail = SpoolTrail(tmp_path, max_events=8, when_full=lambda tenant: "count")
    await trail.record(lost[20:])
    assert await _ids(trail, NORTH) == [one.id for one in kept]

    await trail.ack(NORTH, [entry.key for entry in await trail.read(NORTH, 6)])
    await trail.record([event()])

    told = [entry.event for entry in await trail.read(NORTH, 9) if entry.event.action == events.EVENTS_DROPPED]
    assert [(one.count, one.custom) for one in told] == [(25, {"from": lost[0].time, "to": lost[-1].time})]
    assert told[0].outcome == events.ERROR
    trail.close()
    assert (tmp_path / "dropped.json").read_bytes() == b"{}"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("written", [0, 10, 10_000])
async def test_a_failing_disk_refuses_and_then_goes_on(
    spool: SpoolTrail, monkeypatch: pytest.MonkeyPatch, written: int, code: int
) -> None:
    before, refused, after = event(), event(), event()
    await spool.record([before])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(code, written))
        with pytest.raises(AuditUnavailable):
            await spool.record([refused])
    assert spool.pending == 1

    await spool.record([after])

    assert await _ids(spool, NORTH) == [before.id, after.id]


async def test_a_failing_disk_counts_what_a_lenient_tenant_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = SpoolTrail(tmp_path, when_full=lambda tenant: "count")
    await trail.record([event()])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.EIO))
        await trail.record([event(), event()])
        await trail.record([event()])
    await trail.ack(NORTH, [entry.key for entry in await trail.read(NORTH, 1)])
    await trail.record([event()])

    found = [entry.event for entry in await trail.read(NORTH, 9)]
    assert sorted((one.action, one.count) for one in found) == [(events.EVENTS_DROPPED, 3), (events.WRAP, 1)]
    trail.close()


def test_a_real_full_disk_refuses(tmp_path: Path) -> None:
    """/dev/full answers every write with ENOSPC: nothing of the batch stays."""
    segment = Segment(tmp_path / "1.segment")
    segment.start()
    size = segment.size
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(segment._file)
    os.dup2(full, segment._file)
    with pytest.raises(OSError, match=r"Errno"):
        segment.append(b"frame")
    os.dup2(kept, segment._file)
    assert segment.size == size == (tmp_path / "1.segment").stat().st_size
    os.close(full)
    os.close(kept)
    segment.close()
