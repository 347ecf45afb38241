"""Ten thousand tenants from the last good configurations, while the portal is down: ready soon, and small."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.feed import FeedServer
from tests.support.people import document, sealed_record
from tests.tsp.doubles import request
from tests.tsp.test_serve import Proxy
from tsp.configs import Shelf
from tsp.kms.local import create_key_file

TENANTS = 10_000
SECONDS, MEBIBYTES = 10.0, 300


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Proxy]:
    """Started on a state folder of that many tenants; its portal answers 503."""
    key_file = create(tmp_path / "key.json")
    folder = tmp_path / "state" / "proxy" / "configs"
    folder.mkdir(parents=True)
    Shelf(folder).keep([
        sealed_record(document(f"tenant-{number}", number, key_file=key_file, leased=True), sequence=number)
        for number in range(1, TENANTS + 1)
    ])  # fmt: skip
    server = FeedServer()
    server.raw = (503, b"")
    running = Proxy(tmp_path, server, TSP_RATE_PER_TENANT="1000", TSP_UNWRAP_BUDGET="1000")
    yield running
    running.process.stop()
    server.stop()


def create(path: Path) -> Path:
    create_key_file(path)
    return path


def processor_seconds(pid: int) -> float:
    """What the process has computed so far: other than the clock's, its seconds do not depend on its neighbours."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mebibytes(pid: int) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1)) / 1024


def test_ten_thousand_tenants_are_ready_within_ten_seconds_and_300_mebibytes(crowded: Proxy) -> None:
    """At its peak, with a lease held for a hundred of them."""
    began = time.monotonic()
    crowded.process.wait_for_port(crowded.port, seconds=60)
    wall, used = time.monotonic() - began, processor_seconds(crowded.process.pid)
    for number in range(1, TENANTS, TENANTS // 100):
        assert "dek" in crowded.post("document/wrap", request(f"tenant-{number}"))
    resident = resident_mebibytes(crowded.process.pid)
    print(f"{TENANTS} tenants: ready after {wall:.1f} s ({used:.1f} s of processor), {resident:.0f} MiB at most")
    assert used < SECONDS
    assert resident < MEBIBYTES
