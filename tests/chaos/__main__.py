"""`python -m tests.chaos [--minutes 10] [--seed N]`: a soak with a one-page report; exit code 1 if anything broke."""

from __future__ import annotations

import argparse
import logging
import random
import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults come")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to have the same faults")
    options = parser.parse_args()
    seed = random.randrange(10_000) if options.seed is None else options.seed

    from django.conf import settings

    settings.configure()  # the processes have their own; only libraries in this one may look
    from tests.chaos.report import show
    from tests.chaos.soak import soak

    logging.disable(logging.CRITICAL)
    console = Console(width=120 if not sys.stdout.isatty() else None)
    columns = TextColumn("{task.description:32}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        outcome = soak(
            options.minutes * 60, seed, progress=lambda done, what: bar.update(task, completed=done, description=what)
        )
    show(outcome, console)
    sys.exit(0 if outcome.fine else 1)


if __name__ == "__main__":
    main()
