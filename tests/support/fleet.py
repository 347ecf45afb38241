"""A portal under gunicorn on PostgreSQL, and proxies that it feeds: tenant a wraps directly, tenant b under a lease."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
from nacl.public import PrivateKey

from tests.support.postgres import Postgres
from tests.support.processes import ROOT, Process, free_port

VENDOR = "acme"
API_KEY = "dGhlLWZsZWV0cy1hcGkta2V5"


class Fleet:
    """`urls` are the proxies', `portal` is the portal's, `token` lets a proxy in there. `manage` runs a command as the
    portal's operator would. `database_port`: another way to PostgreSQL for the running portal.
    """

    def __init__(self, folder: Path, postgres: Postgres, proxies: int = 2, *, database_port: int = 0) -> None:
        self.folder = folder
        self.database = postgres.database()
        self.processes: list[Process] = []
        private = PrivateKey.generate()
        port = free_port()
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TSP_")},
            "DJANGO_SETTINGS_MODULE": "cmk_project.settings.broker",
            "CMK_STAGE": "development",
            "CMK_VENDOR": VENDOR,
            "SECRET_KEY": "for-tests-only-" * 5,
            "DATABASE_URL": self.database,
            "BROKER_URL": f"http://127.0.0.1:{port}",
            "TSP_ALLOW_LOCAL_KMS": "true",
        }
        self.manage("migrate", "--verbosity", "0")
        seed = [
            sys.executable,
            "-m",
            "tests.support.fleet",
            str(folder),
            base64.b64encode(bytes(private.public_key)).decode(),
        ]
        self.token: str = json.loads(_run(seed, self._env).splitlines()[-1])["token"]
        self.portal = self._env["BROKER_URL"]
        database = self.database.replace(f":{postgres.port}/", f":{database_port or postgres.port}/")
        serve = [
            "-m",
            "gunicorn",
            "cmk_project.wsgi",
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            "2",
            "--threads",
            "4",
        ]
        self._start("portal", port, [sys.executable, *serve], {**self._env, "DATABASE_URL": database})
        self.urls = [self._proxy(f"tsp-{at + 1}", private, self.token) for at in range(proxies)]

    def manage(self, *words: str) -> str:
        return _run([sys.executable, "manage.py", *words], self._env)

    def rotate(self, step: str, tenant: str, path: str, kind: str = "deterministic") -> None:
        self.manage(
            "broker_secrets", step, "--vendor", VENDOR, "--tenant", tenant, "--type", kind, "--path", path
        )  # fmt: skip

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the portal's database itself answers."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(query.encode()).fetchall()

    def settle(self) -> None:
        """Half a minute goes by for every secret."""
        with psycopg.connect(self.database) as connection:
            connection.execute("UPDATE broker_tenantsecret SET changed = changed - interval '31 seconds'")

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def _proxy(self, name: str, private: PrivateKey, token: str) -> str:
        port = free_port()
        env = {
            **{key: value for key, value in self._env.items() if key not in ("DATABASE_URL", "SECRET_KEY")},
            "DJANGO_SETTINGS_MODULE": "cmk_project.settings.tsp",
            "TSP_NAME": name,
            "TSP_PORT": str(port),
            "TSP_OPS_PORT": str(free_port()),
            "TSP_API_KEY": API_KEY,
            "TSP_PRIVATE_KEYS": base64.b64encode(bytes(private)).decode(),
            "TSP_BROKER_URL": self._env["BROKER_URL"],
            "TSP_BROKER_TOKEN": token,
            "TSP_STATE_DIR": str(self.folder / name),
            "TSP_EGRESS_ALLOW": "127.0.0.0/8",
            "TSP_REFRESH_SECONDS": "1",
        }
        self._start(name, port, [sys.executable, "manage.py", "tsp_serve"], env)
        return f"http://127.0.0.1:{port}"

    def _start(self, name: str, port: int, command: list[str], env: dict[str, str]) -> None:
        process = Process(command, self.folder / f"{name}.log", env=env, cwd=ROOT)
        self.processes.append(process)
        process.wait_for_port(port)


def _run(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[1:4]} failed: {done.stderr[-2000:]}")
    return done.stdout


def _seed(folder: Path, public_key: bytes) -> None:
    """In the portal's process: vendor, proxy key, token, and the tenants' key services, sealed."""
    import django

    django.setup()
    from broker import services
    from tests.broker.factories import BY, document
    from tsp.contract import sealed
    from tsp.contract.tenant import KmsBody, Leasing, dump
    from tsp.kms.local import create_key_file

    vendor = services.create_vendor(name=VENDOR, title="Acme", by=BY)
    key = services.register_proxy_key(vendor=vendor, public_key=public_key, by=BY)
    for name in ("a", "b"):
        tenant = services.create_tenant(vendor=vendor, name=name, by=BY)
        config = services.allocate_config(tenant=tenant, kind="kms", by=BY)
        create_key_file(folder / f"{name}.json")
        body = KmsBody("local", {"key_file": str(folder / f"{name}.json")}, leasing=Leasing(enabled=name == "b"))
        box = sealed.seal(dump(document(config, key, body)), public_key)
        record = sealed.Record(name, config.number, "kms", 1, {key.key: box})
        services.publish_record(tenant=tenant, record=record, by=BY)
    print(json.dumps({"token": services.issue_service_token(vendor=vendor, label="fleet", by=BY)}))


if __name__ == "__main__":
    _seed(Path(sys.argv[1]), base64.b64decode(sys.argv[2]))
