"""`encrypt_existing` on a large table, killed five times while others write: nothing lost, and flat memory."""

from __future__ import annotations

from bench.rounds import Table
from tests.support.moving_soak import Soak
from tests.support.postgres import Postgres
from tests.support.sandbox import sandbox

KILLS = 5


def tables(quick: bool) -> list[Table]:
    rows = 20_000 if quick else 200_000
    server = Postgres()
    try:
        with sandbox("a", "b", leased=True) as proxy:
            found = Soak(rows, server.database(), proxy).run(KILLS)
    finally:
        server.stop()
    early, late = found.peak_at(rows // 4), found.samples[-1][2]
    figures = [
        ("lost", found.lost),
        ("sealed twice", found.doubled),
        ("left in clear only", found.left),
        ("rows that others wrote meanwhile", found.written),
        ("kills", found.kills),
    ]
    title = f"encrypt_existing: {rows:,} rows × 2 fields, two writers, PostgreSQL"
    return [
        Table(title, "rows", [(name, float(value), float(value)) for name, value in figures]),
        Table(
            "its memory",
            "MiB",
            [(f"peak when {rows // 4:,} rows are sealed", early, 1.0), ("peak at the end", late, late / early)],
        ),
        Table("its pace", "rows/s", [("beside the writers, one process", found.rate, 1.0)], more_is_better=True),
    ]
