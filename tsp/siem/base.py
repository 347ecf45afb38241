"""What every sink is to the shipper: take a batch of events, or say whether trying again can help."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from tsp.contract.events import AuditEvent
from tsp.egress import Egress


class SinkError(Exception):
    """A batch was not taken.

    `permanent`: these events will never be taken as they are (the shipper splits the batch to find the one at fault);
    otherwise it is tried again, not before `retry_after` seconds when the receiver said so. `refused`: the credentials are.
    """

    def __init__(
        self, reason: str, *, permanent: bool = False, refused: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.refused = refused
        self.retry_after = retry_after


class Sink(ABC):
    """Delivers events to the tenant's SIEM. Blocking. At least once: an event may be sent again with the same id."""

    Config: ClassVar[type]
    label: ClassVar[str]
    batch: ClassVar[int] = 500

    def __init__(self, config: Any, egress: Egress) -> None:
        self.config = config
        self.egress = egress

    @abstractmethod
    def send(self, events: Sequence[AuditEvent]) -> None:
        """Return when the receiver has taken all of `events`; SinkError otherwise."""
