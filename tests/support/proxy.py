"""The proxy as a process of its own, as an operator runs it: fed by a portal of the tests, on free ports."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.feed import TOKEN, FeedServer
from tests.support.people import VENDOR, private_keys
from tests.support.processes import ROOT, Process, free_port
from tests.tsp.doubles import API_KEY

SECOND = "dGhlLXNlY29uZC1hcGkta2V5"


def settings_env(folder: Path, feed: FeedServer, **settings: str) -> dict[str, str]:
    """The environment of a proxy or a worker; `settings` replace what is here."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TSP_")},
        "DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp",
        "CMK_STAGE": "development",
        "CMK_VENDOR": VENDOR,
        "TSP_API_KEY": API_KEY,
        "TSP_API_KEY_2": SECOND,
        "TSP_PRIVATE_KEYS": private_keys(),
        "TSP_BROKER_URL": feed.url,
        "TSP_BROKER_TOKEN": TOKEN,
        "TSP_STATE_DIR": str(folder / "state"),
        "TSP_EGRESS_ALLOW": "127.0.0.0/8",
        "TSP_ALLOW_LOCAL_KMS": "true",
        "TSP_REFRESH_SECONDS": "1",
        **settings,
    }


def worker(folder: Path, feed: FeedServer, *arguments: str, **settings: str) -> Process:
    """A Celery worker, started as an operator does."""
    command = [sys.executable, "-m", "celery", "--app", "cmk_project.celery", "worker", "--loglevel", "INFO"]
    env = settings_env(folder, feed, **settings)
    return Process([*command, *arguments], folder / "worker.log", env=env, cwd=ROOT)


class Proxy:
    """`manage.py tsp_serve` in a subprocess; `launcher`: Python's arguments before it, to start it another way."""

    def __init__(self, folder: Path, feed: FeedServer, *, launcher: Sequence[str] = (), **settings: str) -> None:
        self.port, self.ops = free_port(), free_port()
        ports = {"TSP_PORT": str(self.port), "TSP_OPS_PORT": str(self.ops)}
        self.env = settings_env(folder, feed, **{**ports, **settings})
        self._log = folder / "proxy.log"
        self.start(launcher)

    def start(self, launcher: Sequence[str] = ()) -> None:
        """Once more, on the same ports and folder."""
        command = [sys.executable, *launcher, "manage.py", "tsp_serve"]
        self.process = Process(command, self._log, env=self.env, cwd=ROOT)

    def ready(self) -> float:
        """Waits until it serves: seconds that this took."""
        began = time.monotonic()
        self.process.wait_for_port(self.port)
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL."""
        self.process.child.kill()
        self.process.stop()

    def get(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}{page}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def post(self, route: str, body: dict[str, Any], key: str = API_KEY) -> Any:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/1/{route}", json.dumps(body).encode(), {"Authorization": f"cmk {key}"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)
