"""A webhook signed as the Standard Webhooks specification has it, so that any of its libraries can verify it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tsp.contract.events import AuditEvent
from tsp.contract.options import OptionError, option
from tsp.egress import Egress
from tsp.siem.base import Sink, failure_of
from tsp.siem.formats import CHOICES, shaped

TYPE = "cmk.audit.events"
_PREFIX = "whsec_"


class SignedWebhook(Sink):
    """Body: `{"type": "cmk.audit.events", "timestamp": …, "data": {"events": […]}}`."""

    label = "Signed webhook"
    batch = 100

    @dataclass(frozen=True, slots=True)
    class Config:
        url: str = option("URL", placeholder="https://siem.example.com/cmk")
        secret: str = option("Signing secret", secret=True, placeholder="whsec_…", help="24 to 64 bytes in base64.")
        shape: str = option("Event format", default="cmk", choices=CHOICES)
        ca_pem: str = option(
            "Private CA certificate", default="", multiline=True, ends="pem", help="PEM; empty: public CAs."
        )

    def __init__(self, config: Config, egress: Egress) -> None:
        super().__init__(config, egress)
        self._key = _key(config.secret)

    def send(self, events: Sequence[AuditEvent]) -> None:
        now = int(time.time())
        # The same batch has the same id when it is sent again: a receiver may drop repeats by it.
        name = "msg_" + hashlib.sha256("\n".join(event.id for event in events).encode()).hexdigest()[:32]
        content = {
            "type": TYPE,
            "timestamp": events[-1].time,
            "data": {"events": [shaped(event, self.config.shape) for event in events]},
        }
        body = msgspec.json.encode(content)
        signature = hmac.digest(self._key, f"{name}.{now}.".encode() + body, "sha256")
        headers = {
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(now),
            "webhook-signature": "v1," + base64.b64encode(signature).decode(),
        }
        failure = failure_of(self.post(self.config.url, headers, body, self.config.ca_pem))
        if failure is not None:
            raise failure


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise OptionError("option 'secret' must be whsec_ and the base64 of 24 to 64 bytes")
    return key
