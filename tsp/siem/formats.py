"""An audit event as a receiver reads it: our own members, or the Elastic Common Schema (ECS 8)."""

from __future__ import annotations

from typing import Any

import msgspec

from tsp.contract import events
from tsp.contract.events import AuditEvent

CHOICES = (("cmk", "CMK (docs/formats.md, section 6)"), ("ecs", "Elastic Common Schema"))
_FORMAT = b'{"format":%d,' % events.FORMAT
_OUTCOMES = {events.SUCCESS: "success", events.REFUSED: "failure", events.ERROR: "failure"}


def shaped(event: AuditEvent, shape: str) -> msgspec.Raw:
    """`event` in one of CHOICES, to be a part of what msgspec writes as JSON."""
    return msgspec.Raw(msgspec.json.encode(ecs(event))) if shape == "ecs" else own(event)


def own(event: AuditEvent) -> msgspec.Raw:
    """Our members, those at their default left out; `format` is always there, so that a reader knows what it reads."""
    return msgspec.Raw(_FORMAT + events.dump(event)[1:])


def ecs(event: AuditEvent) -> dict[str, Any]:
    """ECS field names where ECS has one; the whole event as ours under `cmk`."""
    made: dict[str, Any] = {
        "@timestamp": event.time,
        "ecs": {"version": "8.11.0"},
        "event": {
            "id": event.id,
            "kind": "event",
            "category": ["database", "iam"] if event.action.startswith("dek.") else ["configuration"],
            "type": ["access"] if event.action.startswith("dek.") else ["info"],
            "action": event.action,
            "outcome": _OUTCOMES.get(event.outcome, "unknown"),
            "provider": "cmk",
            "dataset": "cmk.audit",
        },
        "organization": {"id": event.tenant},
        "cmk": own(event),
    }
    if event.code:
        made["error"] = {"code": str(event.code), "message": event.reason}
    if event.source_ip:
        made["source"] = {"address": event.source_ip}
    if event.requesting_id:
        made["user"] = {"id": event.requesting_id}
    if event.ray_id:
        made["trace"] = {"id": event.ray_id}
    if event.tsp:
        made["observer"] = {"name": event.tsp, "type": "proxy", "vendor": event.vendor}
    return made
