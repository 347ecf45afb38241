"""What every sink is to the shipper: take a batch of events, or say whether trying again can help."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tsp.contract.events import AuditEvent
from tsp.egress import Egress, EgressDenied, EgressFailed, Response

SEND_SECONDS = 20.0
MAX_REPLY = 65_536


class SinkError(Exception):
    """A batch was not taken.

    `permanent`: these events will never be taken as they are (the shipper splits the batch to find the one at fault);
    otherwise it is tried again, not before `retry_after` seconds when the receiver said so. `refused`: the address, the
    credentials or the settings are wrong, so nothing will be taken until they change.
    """

    def __init__(
        self, reason: str, *, permanent: bool = False, refused: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.refused = refused
        self.retry_after = retry_after


class Sink(ABC):
    """Delivers events to the tenant's SIEM. Blocking. At least once: an event may come again with the same id."""

    Config: ClassVar[type]
    label: ClassVar[str]
    batch: ClassVar[int] = 500

    def __init__(self, config: Any, egress: Egress) -> None:
        self.config = config
        self.egress = egress

    def post(self, url: str, headers: Mapping[str, str], body: bytes, ca_pem: str = "") -> Response:
        """For sinks over HTTP: whatever reply came. SinkError when none did."""
        failure: SinkError | None = None
        try:
            return self.egress.request(
                "POST", url, headers=headers, body=body, timeout=SEND_SECONDS, max_bytes=MAX_REPLY, ca_pem=ca_pem
            )
        except EgressDenied as error:
            failure = SinkError(f"the receiver may not be called: {error}", refused=True)
        except EgressFailed as error:
            failure = SinkError(f"the receiver cannot be reached: {error}")
        raise failure

    @abstractmethod
    def send(self, events: Sequence[AuditEvent]) -> None:
        """Return when the receiver has taken all of `events`; SinkError otherwise."""


def failure_of(reply: Response) -> SinkError | None:
    """What an HTTP status means to the shipper; None for 2xx. The reply's text is not quoted.

    A wrong address or credential is `refused`: the events are fine and wait for a better configuration. 400, 413, 422
    are `permanent`: one of the events is at fault. Everything else is tried again.
    """
    status = reply.status
    if 200 <= status < 300:
        return None
    reason = f"the receiver answered {status}"
    if status in (400, 413, 422):
        return SinkError(reason, permanent=True)
    if 300 <= status < 400 or status in (401, 403, 404, 405, 407, 410):
        return SinkError(reason, refused=True)
    later = reply.headers.get("retry-after", "")
    return SinkError(reason, retry_after=float(later) if re.fullmatch(r"[0-9]{1,5}", later) else None)
