"""`make run ONCE=1`: the main job on embedded defaults, as a person starts it, and how it ends when something fails."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = [sys.executable, "-m", "examples.demo"]


@pytest.mark.timeout(300)
def test_the_main_job_runs_checks_itself_and_leaves_nothing_running(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = subprocess.run(
        [*DEMO, "--once", "--state", str(state)], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert int(re.findall(r"(\d+) checks held", done.stdout)[0]) >= 25
    assert "access withdrawn by the customer" in done.stdout
    assert _running(state) == []


@pytest.mark.timeout(120)
def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    child = subprocess.Popen([*DEMO, "--once", "--state", str(state)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (state / "logs" / "portal.log").exists() and time.monotonic() < until:
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=40)
    assert child.returncode == 130
    assert _running(state) == []


def test_a_folder_with_other_files_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(
        [*DEMO, "--once", "--state", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "name another folder with --state" in " ".join(done.stdout.split())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_second_demonstration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (tmp_path / ".demo").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [*DEMO, "--once", "--state", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "another demonstration runs" in done.stdout


def _running(state: Path) -> list[str]:
    """Processes whose environment names this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if str(state).encode() in environment:
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found
