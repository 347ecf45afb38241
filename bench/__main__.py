"""`python -m bench [--quick] [PART …]`: tables for people, and var/bench.json. No thresholds."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table as Shown

from bench.rounds import Table

EXTRA = ("moving",)  # takes minutes: only by name
PARTS = ("values", "files", "proxy", "limits", "documents", "rows", "search")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures what encryption costs here.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sizes")
    parser.add_argument(
        "part", nargs="*", choices=[*PARTS, *EXTRA, []], help=f"of {', '.join(PARTS)}; all if none is named"
    )
    options = parser.parse_args()
    console = Console(width=110 if not sys.stdout.isatty() else None)
    start, found = time.monotonic(), {}
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
                  f"load {os.getloadavg()[0]:.1f} at the start: read the ratios, not the figures")  # fmt: skip
    for name in options.part or PARTS:
        tables: list[Table] = import_module(f"bench.{name}").tables(options.quick)
        for table in tables:
            console.print(_shown(table))
        found[name] = [table.dump() for table in tables]
    path = Path("var") / "bench.json"
    path.parent.mkdir(exist_ok=True)
    about = {"quick": options.quick, "machine": platform.platform(), "load": os.getloadavg()}
    path.write_text(json.dumps({**about, "parts": found}, indent=1, ensure_ascii=False))
    console.print(f"{time.monotonic() - start:.0f} s; also in {path}")


def _shown(table: Table) -> Shown:
    shown = Shown(title=table.title, caption="; ".join(table.notes), title_justify="left", caption_justify="left")
    shown.add_column("", min_width=36)
    shown.add_column(f"median, {table.unit}", justify="right")
    shown.add_column("of the first" if table.more_is_better else "× the first", justify="right")
    for name, median, ratio in table.rows:
        shown.add_row(name, f"{median:,.2f}" if median < 100 else f"{median:,.0f}", f"{ratio:.2f}")
    return shown


if __name__ == "__main__":
    main()
