"""Which core a process runs on: what a core does is measured on one, not on several in turn with cold caches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CAN = hasattr(os, "sched_setaffinity")


def keep(pid: int, number: int) -> None:
    """The process (0: this one) from here on to the core of this number, its threads included; nothing on macOS."""
    if CAN:
        _all(pid or os.getpid(), {sorted(os.sched_getaffinity(0))[number]})


@contextmanager
def apart(pid: int) -> Iterator[None]:
    """The process on the last core, and we and whatever load we start on the others; if there is more than one."""
    cores = sorted(os.sched_getaffinity(0)) if CAN else []
    if len(cores) < 2:
        yield
        return
    _all(pid, {cores[-1]})
    _all(os.getpid(), set(cores[:-1]))
    try:
        yield
    finally:
        for one in (pid, os.getpid()):
            _all(one, set(cores))


def _all(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)
