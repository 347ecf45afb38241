"""Lease events into the audit trail, in the background: a renewal never waits for it, and a loss is never silent."""

from __future__ import annotations

import asyncio
import logging

from encrypted_fields.core.errors import CmkError, KmsRefused
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.ports import Trail

_log = logging.getLogger(__name__)


class Journal:
    """`lost` counts the lease events that the trail could not take; each one is also an error in the log."""

    def __init__(self, trail: Trail, vendor: str, tsp: str) -> None:
        self._trail = trail
        self._vendor = vendor
        self._tsp = tsp
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0

    def say(
        self,
        tenant: str,
        action: str,
        config: int,
        error: CmkError | None = None,
        digest: bytes = b"",
        reason: str = "",
    ) -> None:
        outcome = events.SUCCESS if error is None else events.REFUSED if isinstance(error, KmsRefused) else events.ERROR
        event = AuditEvent(
            id=events.new_id(), time=events.timestamp(), vendor=self._vendor, tenant=tenant, action=action,
            outcome=outcome, code=error.code if error else 0, reason=error.message if error else reason, tsp=self._tsp,
            config=config, leased=True, edek=digest[:8].hex(),
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(self._record(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drained(self) -> None:
        """Until all that was said so far is recorded, or counted as lost."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _record(self, event: AuditEvent) -> None:
        try:
            await self._trail.record([event])
        except CmkError as error:
            self.lost += 1
            _log.error(
                "a lease event could not be recorded: %s", error, extra={"tenant": event.tenant, "action": event.action}
            )
