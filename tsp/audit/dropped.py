"""Events that could not be kept, counted exactly by tenant: nothing is dropped silently (R-29)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from tsp.contract import events
from tsp.contract.events import AuditEvent

_log = logging.getLogger("tsp.audit")
_FILE = msgspec.json.Decoder(dict[str, AuditEvent])


class Dropped:
    """One `audit.dropped` event a tenant, growing until `take` sends it: `count`, and the time range in `custom`.

    Kept in `path` as well as the disk allows, so that a count outlives the process.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.changed = path, False
        self._waiting: dict[str, AuditEvent] = {}
        if path.exists():
            try:
                self._waiting = _FILE.decode(path.read_bytes())
            except ValueError:  # cut short by a full disk
                _log.error("the counts of dropped audit events in %s cannot be read", path)

    def add(self, event: AuditEvent) -> None:
        """Count `event`; one that is a count itself is added up."""
        before = self._waiting.get(event.tenant)
        first, last, count = event.custom.get("from", event.time), event.custom.get("to", event.time), 1
        if event.action == events.EVENTS_DROPPED:
            count = event.count
        if before is not None:
            first, last = min(first, before.custom["from"]), max(last, before.custom["to"])
            count += before.count
        self._waiting[event.tenant] = AuditEvent(
            id=before.id if before else events.new_id(),
            time=events.timestamp(),
            vendor=event.vendor,
            tenant=event.tenant,
            action=events.EVENTS_DROPPED,
            outcome=events.ERROR,
            reason="the audit trail was full or could not be written",
            tsp=event.tsp,
            count=count,
            custom={"from": first, "to": last},
        )
        self.changed = True

    def waiting(self) -> list[AuditEvent]:
        """What would be told to each tenant now."""
        return list(self._waiting.values())

    def take(self, event: AuditEvent) -> None:
        """`event` of `waiting` is on its way: start a new count."""
        del self._waiting[event.tenant]
        self.changed = True

    def snapshot(self) -> bytes | None:
        """The content for `save`, None if nothing changed since the last one."""
        if not self.changed:
            return None
        self.changed = False
        return msgspec.json.encode(self._waiting)

    def save(self, counts: bytes) -> None:
        """Write the counts to the file. A full disk does not matter: they stay in memory."""
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(counts)
            os.replace(new, self._path)
        except OSError as error:
            _log.warning("the counts of dropped audit events cannot be saved: %s", error.strerror)
