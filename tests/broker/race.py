"""Run as a program: many threads write to the portal at once, on the database that DATABASE_URL names.

A reader follows the feed meanwhile as a proxy does. Prints one line of JSON; tests/broker/test_races.py judges it.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from django.test import Client

THREADS = 8
ROUNDS = 6


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "cmk_project.settings.test"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from broker import services
    from broker.models import Config, ConfigVersion, Counter
    from tests.broker.factories import BY, MemberFactory, ProxyKeyFactory, TenantFactory

    vendor = ProxyKeyFactory().vendor
    tenants = [TenantFactory(vendor=vendor) for _ in range(THREADS)]
    one = services.allocate_config(tenant=tenants[0], kind="kms", by=BY)
    token = services.issue_service_token(vendor=vendor, label="race", by=BY)
    user = MemberFactory(tenant=tenants[0]).user
    found: dict[str, Any] = {"engine": django.db.connection.vendor}

    # every thread tries to publish the same version: one wins
    found["same_version"] = [
        together(lambda at, version=number + 1: publish_as(one, version)) for number in range(ROUNDS)
    ]
    # every thread asks for the tenant's one audit log, and for a key: one number each
    siem = together(lambda at: services.allocate_config(tenant=tenants[1], kind="siem", by=BY).number)
    kms = together(lambda at: services.allocate_config(tenant=tenants[1], kind="kms", by=BY).number)
    found["one_number"] = [len(set(siem)), len(set(kms)), Config.objects.filter(tenant=tenants[1]).count()]
    # every thread switches off: one changes something
    found["switched"] = sum(together(lambda at: services.set_config_enabled(config=one, enabled=False, by=BY)))
    # every thread invites the same person elsewhere: the person is a member once
    found["joined"] = [
        together(lambda at, email=email: added(tenants[2], email)).count("added")
        for email in (user.email, "new@example.com")
    ]
    found["secrets"] = secrets(one, token)
    # every thread publishes for a tenant of its own, while a proxy follows the feed: nothing is skipped
    before = Counter.objects.get(name="sequence").value
    follower = Follower(token, before)
    together(lambda at: [publish_new(tenants[at]) for _ in range(ROUNDS)])
    follower.stop()
    rows = ConfigVersion.objects.filter(sequence__gt=before)
    found["published"] = sorted(rows.values_list("sequence", flat=True))
    found["seen"] = follower.seen
    print(json.dumps(found))


def secrets(config: Any, token: str) -> dict[str, Any]:
    """Every thread leaves a secret in the same place, as a proxy; begins a rotation; leaves the next; commits."""
    from broker.models import TenantSecret, Trail
    from broker.services import begin_rotation, commit_rotation
    from tests.broker.factories import settle

    def leave(at: int) -> Any:
        body = {
            "tsp": f"tsp-{at}",
            "tenant": config.tenant.name,
            "type": "vector",
            "path": "p",
            "config": config.number,
        }
        wrapped = base64.b64encode(bytes([at + 1])).decode()
        client = Client(headers={"Authorization": f"Bearer {token}"})
        answer = client.post("/api/proxy/secrets", {**body, "wrapped": wrapped}, content_type="application/json")
        return [answer.status_code, answer.json()["secrets"]]

    told: dict[str, Any] = {"first": together(leave)}
    first = TenantSecret.objects.get()
    told["begun"] = together(lambda at: stepped(begin_rotation, first)).count("done")
    told["second"] = together(leave)
    settle(config.tenant)
    second = TenantSecret.objects.get(state="current")
    # half of them commit the old one, the others begin with the new one: it must not be left with neither
    steps = [(commit_rotation, first), (begin_rotation, second)]
    told["crossed"] = together(lambda at: stepped(*steps[at % 2]))
    told["states"] = dict(TenantSecret.objects.values_list("number", "state"))
    told["rows"] = Trail.objects.filter(action__startswith="secret.").count()
    return told


def stepped(step: Callable[..., None], secret: Any) -> str:
    from broker.errors import RotationRefused
    from tests.broker.factories import BY

    try:
        step(secret=secret, by=BY)
    except RotationRefused:
        return "refused"
    return "done"


def publish_as(config: Any, version: int) -> str:
    from broker import services
    from broker.errors import StaleVersion
    from tests.broker.factories import BY, boxes, record

    sealed = record(config, version, boxes(config.tenant.vendor))
    try:
        services.publish_record(tenant=config.tenant, record=sealed, by=BY)
    except StaleVersion:
        return "stale"
    return "kept"


def publish_new(tenant: Any) -> None:
    from broker import services
    from tests.broker.factories import BY, publish

    publish(services.allocate_config(tenant=tenant, kind="siem", by=BY))


def added(tenant: Any, email: str) -> str:
    from broker import services
    from broker.errors import NameTaken
    from tests.broker.factories import BY

    try:
        services.add_member(tenant=tenant, email=email, by=BY)
    except NameTaken:
        return "taken"
    return "added"


class Follower:
    """A proxy that asks for what comes after the last sequence it saw, again and again."""

    def __init__(self, token: str, after: int) -> None:
        self.token, self.after = token, after
        self.seen: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._ask()

    def _follow(self) -> None:
        while not self._done.wait(0.002):
            self._ask()
        django.db.connection.close()

    def _ask(self) -> None:
        client = Client(headers={"Authorization": f"Bearer {self.token}"})
        records = client.get("/api/proxy/configs", {"after": self.after}).json()["records"]
        self.seen += [record["sequence"] for record in records]
        self.after = max([self.after, *self.seen])


def together(work: Callable[[int], Any]) -> list[Any]:
    """`work` in every thread, started at the same moment."""
    barrier = threading.Barrier(THREADS)

    def run(at: int) -> Any:
        try:
            barrier.wait(10)
            return work(at)
        finally:
            django.db.connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


if __name__ == "__main__":
    main()
