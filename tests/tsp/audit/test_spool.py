"""What the spool acknowledged is there after a crash, a full disk and a restart. R-9, R-25, R-29."""

# ruff: noqa: ASYNC220, ASYNC240, ASYNC251  small files and a child process on purpose
from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.errors import AuditUnavailable
from tests.support.failing_disk import failing
from tests.support.people import NORTH, SOUTH, event
from tests.support.processes import ROOT
from tsp.audit.aside import Aside
from tsp.audit.segments import Segment
from tsp.audit.spool import SpoolTrail
from tsp.contract import events


async def _ids(trail: SpoolTrail, queue: str) -> list[str]:
    return [entry.event.id for entry in await trail.read(queue, 1_000_000)]


async def test_events_come_out_as_they_went_in_by_tenant(spool: SpoolTrail) -> None:
    first, second, other = event(custom={"a": "ü"}), event(), event(tenant=SOUTH)
    await spool.record([first, other, second])

    assert sorted(await spool.queues()) == [NORTH, SOUTH]
    assert [entry.event for entry in await spool.read(NORTH, 10)] == [first, second]
    assert [entry.event for entry in await spool.read(NORTH, 1)] == [first]


async def test_what_is_acknowledged_is_gone_also_after_a_restart(tmp_path: Path) -> None:
    trail = SpoolTrail(tmp_path)
    one, two = event(), event()
    await trail.record([one, two])
    [entry, _] = await trail.read(NORTH, 2)
    await trail.ack(NORTH, [entry.key])
    trail.close()

    again = SpoolTrail(tmp_path)
    assert await _ids(again, NORTH) == [two.id]
    assert again.pending == 1
    again.close()


async def test_files_are_deleted_when_all_is_acknowledged(tmp_path: Path) -> None:
    trail = SpoolTrail(tmp_path, segment_bytes=1_000)
    for _ in range(50):
        await trail.record([event()])
    assert len(list(tmp_path.glob("*.segment"))) > 5

    await trail.ack(NORTH, [entry.key for entry in await trail.read(NORTH, 100)])
    trail.close()

    assert len(list(tmp_path.glob("*.segment"))) == 1
    assert len(list(tmp_path.glob("*.ack"))) == 1


async def test_neither_a_commit_nor_the_event_loop_waits_for_files_that_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ADR 22: each takes milliseconds; only the very first file is made by who needs it."""
    started, deleted = _threads(monkeypatch, "start"), _threads(monkeypatch, "delete")
    trail = SpoolTrail(tmp_path, segment_bytes=4_000)
    for _ in range(120):
        await trail.record([event()])
        await trail.ack(NORTH, [entry.key for entry in await trail.read(NORTH, 100)])
    trail.close()

    assert started[0] == "audit-spool"
    assert len(started) > 4
    assert len(deleted) > 4
    assert set(started[1:] + deleted) == {"audit-spool-files_0"}


def _threads(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Who calls this of a segment."""
    found, real = list[str](), getattr(Segment, name)

    def call(*arguments: Any) -> None:
        found.append(threading.current_thread().name)
        real(*arguments)

    monkeypatch.setattr(Segment, name, call)
    return found


async def test_a_file_that_is_deleted_late_takes_none_after_it_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-25: a write failed and the file is empty; the next one has another name."""
    kept, real = event(), Segment.delete

    def slow(segment: Segment) -> None:
        time.sleep(0.2)
        real(segment)

    monkeypatch.setattr(Segment, "delete", slow)
    trail = SpoolTrail(tmp_path)
    await trail.record([event()])
    await trail.ack(NORTH, [entry.key for entry in await trail.read(NORTH, 1)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.EIO))
        with pytest.raises(AuditUnavailable):
            await trail.record([event()])
    await trail.record([kept])
    trail.close()

    again = SpoolTrail(tmp_path)
    assert await _ids(again, NORTH) == [kept.id]
    again.close()


def test_a_segment_that_could_not_be_made_ahead_is_made_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk was full for a moment."""
    aside = Aside(tmp_path, 4_000, 7)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.ENOSPC))
        aside.prepare()
        assert aside._ahead is not None
        assert aside._ahead.exception() is not None
    segment = aside.take()
    assert [path.name for path in tmp_path.glob("*.segment")] == [segment.path.name]
    assert "no segment of the audit spool could be made ahead" in caplog.text
    segment.close()
    aside.close()


async def test_a_tenant_whose_events_stay_does_not_pin_the_disk_of_the_others(tmp_path: Path) -> None:
    """R-16: one SIEM is down for a day while the others' events flow through."""
    trail = SpoolTrail(tmp_path, max_bytes=20_000, segment_bytes=2_000)
    stay = []
    for _ in range(40):
        kept = event(tenant=SOUTH)
        stay.append(kept.id)
        await trail.record([kept])
        for _ in range(5):
            await trail.record([event() for _ in range(10)])
            await trail.ack(NORTH, [entry.key for entry in await trail.read(NORTH, 100)])

    assert sorted(await _ids(trail, SOUTH)) == sorted(stay)
    trail.close()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.segment")) < 30_000
    again = SpoolTrail(tmp_path)
    assert sorted(await _ids(again, SOUTH)) == sorted(stay)
    again.close()


async def test_many_callers_share_one_write(spool: SpoolTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    count, real = 0, os.pwrite

    def counting(file: int, data: memoryview, at: int) -> int:
        nonlocal count
        count += 1
        return real(file, data, at)

    monkeypatch.setattr(os, "pwrite", counting)

    await asyncio.gather(*(spool.record([event()]) for _ in range(500)))

    assert count < 50
    assert spool.pending == 500


async def test_a_write_returns_when_it_is_on_disk(tmp_path: Path) -> None:
    """R-10: the kernel waits for the disk in each write to the file."""
    segment = Segment(tmp_path / "1.segment")
    assert fcntl.fcntl(segment._file, fcntl.F_GETFL) & os.O_DSYNC
    segment.close()


async def test_what_a_crash_left_of_the_reserved_space_is_no_event(tmp_path: Path) -> None:
    """R-25: the file is longer than what was written to it, until it is closed or read again."""
    trail = SpoolTrail(tmp_path / "live")
    made = [event() for _ in range(3)]
    await trail.record(made)
    [path] = (tmp_path / "live").glob("*.segment")
    assert path.stat().st_size > 1_000_000
    shutil.copytree(tmp_path / "live", tmp_path / "crashed")
    trail.close()
    whole = path.stat().st_size
    assert whole < 10_000

    again = SpoolTrail(tmp_path / "crashed")
    assert await _ids(again, NORTH) == [one.id for one in made]
    assert (tmp_path / "crashed" / path.name).stat().st_size == whole
    again.close()


async def test_a_queue_is_read_whole_wherever_its_events_lie(tmp_path: Path) -> None:
    """Side by side, among other tenants' events, or in many files; short ones and long ones."""
    trail = SpoolTrail(tmp_path, segment_bytes=50_000)
    made = []
    for number in range(120):
        mine = event(custom={"text": "x" * (number * 331 % 30_000)})
        made.append(mine)
        await trail.record([event(tenant=SOUTH)] * (number % 3) + [mine])

    assert [entry.event for entry in await trail.read(NORTH, 1_000)] == made
    assert trail.lines(NORTH, 2) == [(entry.key, events.dump(entry.event)) for entry in await trail.read(NORTH, 2)]
    trail.close()


async def test_a_second_process_is_kept_out(spool: SpoolTrail, tmp_path: Path) -> None:
    with pytest.raises(AuditUnavailable, match="another process"):
        SpoolTrail(tmp_path)


async def test_a_closed_spool_takes_nothing(tmp_path: Path) -> None:
    trail = SpoolTrail(tmp_path)
    trail.close()
    with pytest.raises(AuditUnavailable):
        await trail.record([event()])


@pytest.mark.parametrize("cut", [1, 7, 30, 200])
async def test_a_torn_end_is_cut(tmp_path: Path, cut: int) -> None:
    trail = SpoolTrail(tmp_path)
    whole, torn = event(), event(data_label="x" * 300)
    await trail.record([whole])
    await trail.record([torn])
    trail.close()
    [path] = tmp_path.glob("*.segment")
    os.truncate(path, path.stat().st_size - cut)

    again = SpoolTrail(tmp_path)
    assert await _ids(again, NORTH) == [whole.id]
    after = event()
    await again.record([after])
    again.close()
    third = SpoolTrail(tmp_path)
    assert await _ids(third, NORTH) == [whole.id, after.id]
    third.close()


async def test_a_damaged_event_does_not_take_its_neighbours_along(tmp_path: Path) -> None:
    trail = SpoolTrail(tmp_path)
    first, second, third = event(), event(data_label="rotten"), event()
    await trail.record([first, second, third])
    trail.close()
    [path] = tmp_path.glob("*.segment")
    path.write_bytes(path.read_bytes().replace(b"rotten", b"r0tten"))

    again = SpoolTrail(tmp_path)
    assert await _ids(again, NORTH) == [first.id, third.id]
    again.close()


def test_any_cut_or_flip_of_a_file_never_invents_an_event(tmp_path: Path) -> None:
    async def fill() -> list[str]:
        trail = SpoolTrail(tmp_path / "good")
        made = [event() for _ in range(4)]
        await trail.record(made)
        trail.close()
        return [one.id for one in made]

    known = set(asyncio.run(fill()))
    [source] = (tmp_path / "good").glob("*.segment")
    data = source.read_bytes()
    for at in range(0, len(data), 3):
        path = tmp_path / "bad.segment"
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        segment = Segment(path)
        for _, start, length in segment.scan():
            assert events.load(segment.read(start, length)).id in known
        segment.delete()


_CHILD = """
import asyncio, sys
from pathlib import Path
from tests.support.failing_disk import failing
from tests.support.people import event
from tsp.audit.spool import SpoolTrail

async def main():
    trail = SpoolTrail(Path(sys.argv[1]), segment_bytes=20_000)
    async def work(name):
        while True:
            one = event(tenant=name)
            await trail.record([one])
            sys.stdout.write(f"{name} {one.id}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(work(f"t{n % 4}") for n in range(16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seconds", [0.3, 0.45, 0.7])
async def test_every_acknowledged_event_survives_kill_9(tmp_path: Path, seconds: float) -> None:
    """R-25: the process is killed while it records; what it had been told is durable is there."""
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    first = child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    lines = (first + child.stdout.read()).decode().split("\n")[:-1]
    child.stdout.close()
    child.wait()

    told = defaultdict(set)
    for line in lines:
        queue, _, key = line.partition(" ")
        told[queue].add(key)
    trail = SpoolTrail(tmp_path)
    assert sum(map(len, told.values())) > 50
    for queue, keys in told.items():
        kept = await _ids(trail, queue)
        assert keys <= set(kept)
        assert len(kept) == len(set(kept))
    trail.close()
