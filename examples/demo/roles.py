"""Portal, proxy and sample SaaS: each with its own environment, so that none knows more than its role needs."""

from __future__ import annotations

import base64
import json
import re
import secrets
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from examples.demo.processes import Failed, run
from examples.demo.stage import Stage

VENDOR = "clinicloud"
MANAGE = [sys.executable, "manage.py"]
_CELERY = [sys.executable, "-m", "celery", "--app", "cmk_project.celery"]


class Portal:
    """The vendor's portal; `database` is an address as in DATABASE_URL, "" for SQLite on the stage."""

    def __init__(self, stage: Stage, database: str = "") -> None:
        self.port = stage.port(8000)
        self.url = f"http://127.0.0.1:{self.port}"
        self._stage = stage
        self._env = {
            "DJANGO_SETTINGS_MODULE": "cmk_project.settings.broker",
            "CMK_STAGE": "development",
            "CMK_VENDOR": VENDOR,
            "SECRET_KEY_FILE": stage.secret("portal-secret-key", secrets.token_urlsafe(50)),
            "DATABASE_URL": database or f"sqlite:///{stage.folder / 'portal.sqlite3'}",
            "BROKER_URL": self.url,
            "TSP_ALLOW_LOCAL_KMS": "true",
        }

    def start(self) -> None:
        run([*MANAGE, "migrate", "--verbosity", "0"], self._env)
        self._stage.serve("portal", _gunicorn("cmk_project.wsgi", self.port), self.port, self._env)

    def ask(self, verb: str, wanted: object = None) -> Any:
        """What examples.demo.portal answers."""
        return json.loads(run([sys.executable, "-m", "examples.demo.portal", verb], self._env, json.dumps(wanted)))


class Proxy:
    """The tenant security proxy; with `redis` it keeps its trail there, and Celery workers ship and renew."""

    def __init__(self, stage: Stage, broker: str, redis: str = "") -> None:
        self.port = stage.port(7777)
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = base64.b64encode(secrets.token_bytes(32)).decode()
        self._stage = stage
        self._redis = redis
        self._env = {
            "DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp",
            "CMK_STAGE": "development",
            "CMK_VENDOR": VENDOR,
            "TSP_NAME": "demo-1",
            "TSP_PORT": str(self.port),
            "TSP_OPS_PORT": str(stage.port(9000)),
            "TSP_API_KEY_FILE": stage.secret("proxy-api-key", self.api_key),
            "TSP_BROKER_URL": broker,
            "TSP_REDIS_URL": redis,
            "TSP_STATE_DIR": str(stage.folder / "proxy"),
            "TSP_EGRESS_ALLOW": "127.0.0.0/8",
            "TSP_ALLOW_LOCAL_KMS": "true",
            "TSP_REFRESH_SECONDS": "1",
        }

    def make_key(self) -> str:
        """A key pair; the private half goes to the proxy's secrets, the public one (base64) is returned."""
        out = self._stage.folder / "secrets" / "proxy-private-key"
        shown = run([*MANAGE, "tsp_keygen", "--out", str(out)], {"DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp"})
        found = re.search(r"public key\s+(\S+)", shown)
        if found is None:
            raise Failed("tsp_keygen did not print a public key")
        self._env["TSP_PRIVATE_KEYS_FILE"] = str(out)
        return found[1]

    def start(self, token: str) -> None:
        (self._stage.folder / "proxy").mkdir(mode=0o700)
        self._env["TSP_BROKER_TOKEN_FILE"] = self._stage.secret("proxy-broker-token", token)
        self._stage.serve("proxy", [*MANAGE, "tsp_serve"], self.port, self._env)
        if self._redis:
            schedule = str(self._stage.folder / "beat-schedule")
            worker = [*_CELERY, "worker", "--loglevel", "INFO", "--concurrency", "1"]
            self._stage.serve("worker", worker, 0, self._env)
            self._stage.serve("beat", [*_CELERY, "beat", "--loglevel", "INFO", "--schedule", schedule], 0, self._env)


class Clinic:
    """The sample SaaS in `stage.folder / "clinic"`."""

    def __init__(self, stage: Stage, proxy: Proxy, database: str = "") -> None:
        self.port = stage.port(8001)
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = stage.folder / "clinic"
        self.folder.mkdir()
        self._database = database
        self._stage = stage
        self._env = {
            "DJANGO_SETTINGS_MODULE": "examples.clinic.settings",
            "SECRET_KEY_FILE": stage.secret("clinic-secret-key", secrets.token_urlsafe(50)),
            "CLINIC_STATE": str(self.folder),
            "DATABASE_URL": database or f"sqlite:///{self._file}",
            "CMK_TSP_URL": proxy.url,
            "CMK_TSP_API_KEY_FILE": stage.secret("proxy-api-key", proxy.api_key),
        }

    @property
    def _file(self) -> Path:
        return self.folder / "clinic.sqlite3"

    def start(self, staff: object) -> None:
        run([*MANAGE, "migrate", "--verbosity", "0"], self._env)
        run([*MANAGE, "seed_clinics"], self._env, json.dumps(staff))
        self._stage.serve("clinic", _gunicorn("examples.clinic.wsgi", self.port), self.port, self._env)

    def rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        """What the database itself answers, past Django and its fields."""
        if self._database:
            with psycopg.connect(self._database) as connection:
                return connection.execute(query.encode()).fetchall()
        with sqlite3.connect(f"file:{self._file}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()


def _gunicorn(application: str, number: int) -> list[str]:
    serve = [sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{number}"]
    return [*serve, "--workers", "1", "--threads", "4", "--no-control-socket"]
