"""A proxy's configurations over a feed that the test writes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import AuditUnavailable
from tests.support.people import NORTH, VENDOR, document, private_keys, sealed_record
from tsp.audit.queue import MAX_EVENT
from tsp.config_feed import FeedError, Page, Result
from tsp.configs import Configs, Shelf, Tenant
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.contract.sealed import Record
from tsp.egress import Egress
from tsp.kms.local import create_key_file
from tsp.unseal import PrivateKeys


class WrittenFeed:
    """What the portal would say; `down` makes it fail, `results` is what it was told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.disabled: list[int] = []
        self.leasing_required: frozenset[str] = frozenset()
        self.results: list[Result] = []
        self.asked: list[int] = []
        self.down = False

    def fetch(self, after: int) -> Page | None:
        if self.down:
            raise FeedError("down")
        self.asked.append(after)
        found, self.records = self.records, []
        last = max([after, *(record.sequence for record in found)])
        return Page(found, self.disabled, False, last, leasing_required=self.leasing_required)

    def report(self, results: Collection[Result]) -> None:
        self.results.extend(results)


class Mail:
    """Keeps the events with their queues."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, AuditEvent]] = []
        self.full = False

    async def put(self, addressed: Collection[tuple[str, AuditEvent]]) -> None:
        if self.full:
            raise AuditUnavailable
        for _, event in addressed:
            assert len(events.dump(event)) < MAX_EVENT
        self.sent.extend(addressed)

    def actions(self) -> list[tuple[str, str]]:
        return [(event.action, event.reason) for _, event in self.sent]


class World:
    """One proxy with its disk in `folder`; `restart` is a new process on the same disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.feed, self.mail = folder, WrittenFeed(), Mail()
        self._started: list[Configs] = []
        self.options: dict[str, Any] = {}

    def restart(self, **options: Any) -> Configs:
        self.options |= options
        configs = Configs(
            VENDOR,
            PrivateKeys.parse(private_keys("first", "second")),
            Egress(allow=["127.0.0.0/8"]),
            self.feed,
            Shelf(self.folder / "state"),
            **{"mail": self.mail, "tsp": "tsp-1", "allow_local": True, **self.options},
        )
        self._started.append(configs)
        return configs

    def key_file(self, name: str = "key") -> Path:
        path = self.folder / name
        if not path.exists():
            create_key_file(path)
        return path

    def close(self) -> None:
        for configs in self._started:
            configs.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.close()


def chain(world: World, count: int, name: str = NORTH, config: int = 1) -> list[Record]:
    """Versions 1 to `count`, each with the hash of the one before."""
    records: list[Record] = []
    for version in range(1, count + 1):
        previous = records[-1].hash if records else ""
        made = document(name, config, key_file=world.key_file(), version=version, previous=previous)
        records.append(sealed_record(made, sequence=version))
    return records


def works(tenant: Tenant) -> bool:
    kms, context = tenant.primary(), KeyContext(VENDOR, tenant.name, tenant.primary().config, "dek")
    key = bytes(range(32))
    return bytes(kms.adapter.unwrap(kms.adapter.wrap(key, context), context)) == key
