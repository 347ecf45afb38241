"""What a trail of audit events promises: to the data plane that records, and to the shipper that empties it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, Protocol

from tsp.contract.events import AuditEvent

MAX_EVENT = 65_536
WhenFull = Literal["refuse", "count"]
Key = int | str


class AuditTrail(Protocol):
    """Takes events so that they survive the process and the machine's power."""

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Returns when all of `events` are durable; AuditUnavailable if they are not, and then no key may leave.

        Calls that run at the same time share one write to disk, so many small calls cost little.
        """


class Entry(NamedTuple):
    """One event in a queue; `key` names it there until it is acknowledged."""

    key: Key
    event: AuditEvent


class Source(Protocol):
    """The other end of a trail. A queue is a tenant's name; one for a retired SIEM ends in "~" and its version."""

    async def queues(self) -> list[str]:
        """The queues that hold events."""

    async def read(self, queue: str, count: int) -> list[Entry]:
        """The oldest `count` events, which stay until they are acknowledged."""

    async def ack(self, queue: str, keys: Collection[Key]) -> None:
        """Forget events that were delivered. A crash may bring some back, under the same ids."""

    async def bury(self, queue: str, entry: Entry, reason: str) -> None:
        """Move an event that its receiver will never take to the dead letters of the queue, with the reason."""


class Mailbox(Protocol):
    """A trail that can be told which queue an event goes to."""

    async def put(self, addressed: Sequence[tuple[str, AuditEvent]]) -> None:
        """Like `AuditTrail.record`, with the queue of each event given."""
