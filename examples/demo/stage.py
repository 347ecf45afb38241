"""The stage of the demonstration: its folder, its ports, its secrets, its four servers and who gets to know what."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from examples.demo.processes import Failed, Server, port, run
from examples.demo.siem import Siem

VENDOR = "clinicloud"
TENANTS = ("north", "south")
TITLES = {"north": "Northside Clinic", "south": "Southside Clinic"}
MANAGE = [sys.executable, "manage.py"]


class Stage:
    """Everything that runs, in `folder`, which is emptied first. Secrets lie in files, each told to its role only.

    Failed if `folder` holds anything that is not ours, or another demonstration runs in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock = _claimed(self.folder)
        for name in ("tenants", "clinic", "logs", "proxy"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o700)
        self.portal_port, self.proxy_port, self.clinic_port = port(8000), port(7777), port(8001)
        self.password = "demo-" + secrets.token_urlsafe(9)
        self.api_key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.siem = Siem(port(8088))
        self.servers: list[Server] = []
        self._broker_token = self._private_key = ""

    @property
    def portal_url(self) -> str:
        return f"http://127.0.0.1:{self.portal_port}"

    @property
    def clinic_url(self) -> str:
        return f"http://127.0.0.1:{self.clinic_port}"

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self.proxy_port}"

    @property
    def clinic_database(self) -> Path:
        return self.folder / "clinic" / "clinic.sqlite3"

    def key_file(self, tenant: str) -> Path:
        """The tenant's own key: on this machine only because this is a demonstration."""
        return self.folder / "tenants" / f"{tenant}.key"

    def start_portal(self) -> None:
        run([*MANAGE, "migrate", "--verbosity", "0"], self._portal())
        self._serve("portal", _gunicorn("cmk_project.wsgi", self.portal_port), self.portal_port, self._portal())

    def ask_portal(self, verb: str, wanted: object = None) -> Any:
        return json.loads(run([sys.executable, "-m", "examples.demo.portal", verb], self._portal(), json.dumps(wanted)))

    def make_proxy_key(self) -> str:
        """A key pair; the private half stays with the proxy, the public one (base64) is returned."""
        shown = run([*MANAGE, "tsp_keygen"], {"DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp"})
        found = dict(re.findall(r"(private|public)[^\n]*?([A-Za-z0-9+/]{43}=)", shown, re.IGNORECASE))
        halves = {name.lower(): text for name, text in found.items()}
        if set(halves) != {"private", "public"}:
            raise Failed("tsp_keygen did not print a private and a public key")
        self._private_key = halves["private"]
        return halves["public"]

    def start_proxy(self, token: str) -> None:
        self._broker_token = token
        self._serve("proxy", [*MANAGE, "tsp_serve"], self.proxy_port, self._proxy())

    def start_clinic(self, staff: object) -> None:
        run([*MANAGE, "migrate", "--verbosity", "0"], self._clinic())
        run([*MANAGE, "seed_clinics"], self._clinic(), json.dumps(staff))
        self._serve("clinic", _gunicorn("examples.clinic.wsgi", self.clinic_port), self.clinic_port, self._clinic())

    def stop(self) -> None:
        """Stops every server, the last one started first."""
        for server in reversed(self.servers):
            server.stop()
        self.siem.stop()
        os.close(self._lock)

    def _serve(self, name: str, command: list[str], number: int, env: dict[str, str]) -> None:
        server = Server(name, command, number, env, self.folder / "logs" / f"{name}.log")
        self.servers.append(server)
        server.wait()

    def _portal(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "cmk_project.settings.broker",
            "CMK_STAGE": "development",
            "CMK_VENDOR": VENDOR,
            "SECRET_KEY_FILE": self._secret("portal-secret-key", secrets.token_urlsafe(50)),
            "DATABASE_URL": f"sqlite:///{self.folder / 'portal.sqlite3'}",
            "BROKER_URL": self.portal_url,
            "TSP_ALLOW_LOCAL_KMS": "true",
        }

    def _proxy(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp",
            "CMK_STAGE": "development",
            "CMK_VENDOR": VENDOR,
            "TSP_NAME": "demo-1",
            "TSP_PORT": str(self.proxy_port),
            "TSP_OPS_PORT": str(port(9000)),
            "TSP_API_KEY_FILE": self._secret("proxy-api-key", self.api_key),
            "TSP_PRIVATE_KEYS_FILE": self._secret("proxy-private-key", self._private_key),
            "TSP_BROKER_URL": self.portal_url,
            "TSP_BROKER_TOKEN_FILE": self._secret("proxy-broker-token", self._broker_token),
            "TSP_STATE_DIR": str(self.folder / "proxy"),
            "TSP_EGRESS_ALLOW": "127.0.0.0/8",
            "TSP_ALLOW_LOCAL_KMS": "true",
            "TSP_REFRESH_SECONDS": "1",
        }

    def _clinic(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "examples.clinic.settings",
            "SECRET_KEY_FILE": self._secret("clinic-secret-key", secrets.token_urlsafe(50)),
            "CLINIC_STATE": str(self.folder / "clinic"),
            "DATABASE_URL": f"sqlite:///{self.clinic_database}",
            "CMK_TSP_URL": self.proxy_url,
            "CMK_TSP_API_KEY_FILE": self._secret("proxy-api-key", self.api_key),
        }

    def _secret(self, name: str, value: str) -> str:
        """The path of a secret's file, made when it is first asked for."""
        file = self.folder / "secrets" / name
        if not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(value)
        return str(file)


def _claimed(folder: Path) -> int:
    """Empties our own folder and holds a lock in it (a file descriptor) for as long as we run."""
    mark = folder / ".demo"
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        raise Failed(f"{folder} holds files that are not of a demonstration: name another folder with --state")
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(mark, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Failed(f"another demonstration runs in {folder}: stop it, or name another folder with --state") from None
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != mark:
            path.unlink()
    return lock


def _gunicorn(application: str, number: int) -> list[str]:
    serve = [sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{number}"]
    return [*serve, "--workers", "1", "--threads", "4", "--access-logfile", "/dev/null"]
