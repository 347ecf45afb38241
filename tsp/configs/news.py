"""What a tenant hears about its configurations: accepted, refused and why, and that its SIEM was replaced (T-6)."""

from __future__ import annotations

import logging

from encrypted_fields.core.errors import AuditUnavailable
from tsp.audit.queue import Mailbox
from tsp.configs.active import ActiveSiem
from tsp.configs.shelf import Shelf, retired_queue
from tsp.contract import events
from tsp.contract.events import AuditEvent

_log = logging.getLogger("tsp.configs")


class News:
    """Writes to the tenants' queues; without a `mail` (in workers, the proxies already write) it only logs."""

    def __init__(self, vendor: str, tsp: str, mail: Mailbox | None, shelf: Shelf) -> None:
        self._vendor, self._tsp, self._mail, self._shelf = vendor, tsp, mail, shelf

    def event(self, name: str, action: str, config: int, version: int, reason: str = "") -> AuditEvent:
        """`version` travels in `custom`, and `reason` says why if it is a refusal."""
        return AuditEvent(
            id=events.new_id(),
            time=events.timestamp(),
            vendor=self._vendor,
            tenant=name,
            action=action,
            outcome=events.REFUSED if reason else events.SUCCESS,
            reason=reason,
            tsp=self._tsp,
            config=config,
            custom={"version": str(version)},
        )

    def expiring(self, name: str, config: int, version: int, day: str, days: int) -> AuditEvent:
        """What the configuration was sealed with ends on `day`, in at most `days` days; 0: it has ended."""
        event = self.event(name, events.CONFIG_EXPIRING, config, version)
        event.custom.update({"ends": day, "days": str(days)})
        return event

    async def tell(self, event: AuditEvent) -> None:
        """Into the tenant's queue. A full trail does not keep a configuration from being refused or accepted."""
        said = {"tenant": event.tenant, "config": event.config, "action": event.action, "reason": event.reason}
        _log.log(logging.WARNING if event.reason else logging.INFO, "configuration", extra=said)
        if self._mail is None:
            return
        try:
            await self._mail.put([(event.tenant, event)])
        except AuditUnavailable:
            _log.error("the tenant could not be told", extra=said)

    async def farewell(self, name: str, old: ActiveSiem, new: ActiveSiem | None) -> None:
        """Before a SIEM stops getting events it is owed one that says so; AuditUnavailable if that cannot be kept.

        The owed event waits in a queue of its own, with the sealed record that opens the way to the old SIEM.
        """
        record = self._shelf.record((name, "siem", old.config))
        if self._mail is None or record is None:
            return
        self._shelf.retire(record)
        event = self.event(name, events.SIEM_CHANGED, old.config, old.version)
        event.custom.update({"to": "none"} if new is None else {"to": f"{new.config}/{new.version}"})
        await self._mail.put([(retired_queue(record), event)])
