"""Who the tests are about: the vendor acme, its tenants north and south, a proxy's keys, and what they sealed."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

import factory
from nacl.public import PrivateKey

from tsp.contract import events, sealed, tenant
from tsp.contract.events import AuditEvent
from tsp.contract.tenant import Binding, Document, KmsBody, Leasing, SiemBody

VENDOR = "acme"
NORTH, SOUTH = "north", "south"
CREATED = "2026-01-31T12:00:00Z"


class EventFactory(factory.Factory[AuditEvent]):
    """An event of tenant north."""

    class Meta:
        model = AuditEvent

    id = factory.LazyFunction(events.new_id)
    time = factory.LazyFunction(events.timestamp)
    vendor = VENDOR
    tenant = NORTH
    action = events.WRAP
    outcome = events.SUCCESS
    requesting_id = "tests"


def event(**members: Any) -> AuditEvent:
    """An event of tenant north, or of who is given."""
    made: AuditEvent = EventFactory.build(**members)
    return made


@cache
def key_pair(name: str = "first") -> PrivateKey:
    """The proxy's key pair of that name: the same in the whole test run."""
    return PrivateKey.generate()


def private_keys(*names: str) -> str:
    """TSP_PRIVATE_KEYS of the named key pairs."""
    return "\n".join(base64.b64encode(bytes(key_pair(name))).decode() for name in names or ("first",))


def key_id(name: str = "first") -> str:
    return sealed.key_id(bytes(key_pair(name).public_key))


def document(
    name: str = NORTH,
    config: int = 1,
    *,
    body: KmsBody | SiemBody | None = None,
    key_file: Path | str = "",
    primary: bool = True,
    leased: bool = False,
    version: int = 1,
    previous: str = "",
    vendor: str = VENDOR,
    created: str = CREATED,
    key: str = "first",
) -> Document:
    """What a tenant writes; without a `body` a local key service with `key_file`."""
    if body is None:
        body = KmsBody("local", {"key_file": str(key_file)}, primary, Leasing(enabled=leased))
    kind: tenant.Kind = "kms" if isinstance(body, KmsBody) else "siem"
    return Document(Binding(vendor, name, config, kind, version, previous, created, key_id(key)), body)


def sealed_record(document: Document, *keys: str, sequence: int = 0, **outside: Any) -> sealed.Record:
    """`document` sealed to each of `keys`, as the broker would pass it on; `outside` lies about what is inside."""
    binding = document.binding
    boxes = {}
    for name in keys or ("first",):
        bound = Document(_replace(binding, tsp_key=key_id(name)), document.body)
        boxes[key_id(name)] = sealed.seal(tenant.dump(bound), bytes(key_pair(name).public_key))
    named: dict[str, Any] = {
        "tenant": binding.tenant,
        "config": binding.config,
        "kind": binding.kind,
        "version": binding.version,
        "boxes": boxes,
        "sequence": sequence,
    }
    return sealed.Record(**{**named, **outside})


def _replace(binding: Binding, **members: Any) -> Binding:
    return Binding(**{**{name: getattr(binding, name) for name in Binding.__dataclass_fields__}, **members})
