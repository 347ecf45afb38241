"""Runs a program and kills it, as SIGKILL does, when it comes by a named place for the n-th time. Q-9.

The program is unchanged: Python itself tells which function is called. `CMK_CRASH_AT=pwrite:return:3` is the third
time that `os.pwrite` has returned; `send:call:5@httptools_impl.py` the fifth call of a `send` in that file.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from types import FrameType
from typing import Any

_SETTING = "CMK_CRASH_AT"


def _watch(place: str) -> None:
    place, _, file = place.partition("@")
    name, when, number = place.split(":")
    seen = 0
    event_of_c = {"call": "c_call", "return": "c_return"}[when]

    def look(frame: FrameType, event: str, about: Any) -> None:
        nonlocal seen
        if event == event_of_c:
            if about.__name__ != name or file:
                return
        elif event != when or frame.f_code.co_name != name or not frame.f_code.co_filename.endswith(file or "\0"):
            return
        seen += 1
        if seen == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(look)
    sys.setprofile(look)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.getcwd())
    _watch(os.environ[_SETTING])
    runpy.run_path(sys.argv[0], run_name="__main__")
