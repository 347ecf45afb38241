"""`python -m examples.demo [--once] [--state FOLDER]`: the main job; then serves until Ctrl-C, or stops."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from examples.demo.cast import TENANTS
from examples.demo.processes import Failed
from examples.demo.roles import VENDOR
from examples.demo.show import Screen
from examples.demo.stage import Stage
from examples.demo.story import Story


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description="The whole main job on this machine, step by step.")
    parser.add_argument("--once", action="store_true", help="check every step, stop everything, exit 0 if all held")
    parser.add_argument("--state", type=Path, default=Path("var/demo"), help="a folder for the state; it is emptied")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    screen = Screen()
    started = time.monotonic()
    screen.console.print("\n[bold]Customer managed keys[/], the main job from beginning to end on this machine.")
    try:
        stage = Stage(arguments.state, any_port=arguments.once)
    except Failed as failure:
        screen.fail(str(failure))
        return 1
    try:
        story = Story(stage, screen)
        story.tell()
        screen.say(f"{screen.checks} checks held in {time.monotonic() - started:.0f} s")
        if not arguments.once:
            _serve(story, screen)
    except Failed as failure:
        screen.fail(str(failure))
        return 1
    except KeyboardInterrupt:
        screen.console.print("\n    stopping …")
        return 130 if arguments.once else 0
    finally:
        stage.stop()
    return 0


def _serve(story: Story, screen: Screen) -> None:
    lines = [
        f"[bold]Portal[/]   {story.portal.url}",
        *(f"         admin@{tenant}.example, or operator@{VENDOR}.example for the vendor" for tenant in TENANTS[:1]),
        f"[bold]Clinic[/]   {story.clinic.url}",
        f"         {' or '.join(TENANTS)}",
        f"[bold]Logs[/]     http://127.0.0.1:{story.stage.siem.port}",
        "         what the tenants' log servers received",
        "",
        f"Every login has the password [bold]{story.password}[/]",
        "",
        "South has withdrawn its key. To give it back, and to take it again:",
        "  .venv/bin/python -m examples.demo.tenant_key south on",
        "  .venv/bin/python -m examples.demo.tenant_key south off",
        "",
        "Ctrl-C stops everything.",
    ]
    screen.panel("running", lines)
    while True:
        story.stage.check()
        time.sleep(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
