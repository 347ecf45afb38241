"""Splunk HTTP Event Collector (HEC), with indexer acknowledgement where the token has it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tsp.contract.events import AuditEvent
from tsp.contract.options import option
from tsp.egress import Egress, Response
from tsp.siem.base import Sink, SinkError, failure_of
from tsp.siem.formats import CHOICES, shaped

ACK_SECONDS = 30.0
ACK_PAUSE = 0.5
# HEC's own codes say more than its status: the token or its settings are wrong, not the events.
_SETTINGS = {1, 2, 3, 4, 7, 10, 11, 14, 16}


class SplunkHec(Sink):
    label = "Splunk HTTP Event Collector"

    @dataclass(frozen=True, slots=True)
    class Config:
        url: str = option("Base URL", placeholder="https://http-inputs.example.splunkcloud.com:443")
        token: str = option("HEC token", secret=True)
        index: str = option("Index", default="", help="Empty: the token's default index.")
        source: str = option("Source", default="cmk")
        sourcetype: str = option("Source type", default="cmk:audit")
        shape: str = option("Event format", default="cmk", choices=CHOICES)
        ack: bool = option("Wait until events are indexed", default=False, help="Needs a token with acknowledgement.")
        ca_pem: str = option(
            "Private CA certificate", default="", multiline=True, ends="pem", help="PEM; empty: public CAs."
        )

    def __init__(self, config: Config, egress: Egress) -> None:
        super().__init__(config, egress)
        self._base = config.url.rstrip("/")
        self._headers = {"Authorization": f"Splunk {config.token}", "Content-Type": "application/json"}
        if config.ack:
            self._headers["X-Splunk-Request-Channel"] = str(uuid.uuid4())

    def send(self, events: Sequence[AuditEvent]) -> None:
        body = b"".join([msgspec.json.encode(self._wrapped(event)) for event in events])
        told = self._post("/services/collector/event", body)
        if self.config.ack:
            number = told.get("ackId")
            if type(number) is not int:
                raise SinkError("the receiver took the events but promises no acknowledgement", refused=True)
            self._wait(number)

    def _wrapped(self, event: AuditEvent) -> dict[str, Any]:
        made = {
            "time": round(datetime.fromisoformat(event.time).timestamp(), 3),
            "host": event.tsp or "cmk",
            "source": self.config.source,
            "sourcetype": self.config.sourcetype,
            "event": shaped(event, self.config.shape),
            "fields": {"event_id": event.id},  # indexed: `dedup event_id` takes out what was sent twice
        }
        return {**made, "index": self.config.index} if self.config.index else made

    def _wait(self, number: int) -> None:
        until = time.monotonic() + ACK_SECONDS
        while True:
            told = self._post("/services/collector/ack", json.dumps({"acks": [number]}).encode())
            acks = told.get("acks")
            if isinstance(acks, dict) and acks.get(str(number)) is True:
                return
            if time.monotonic() + ACK_PAUSE >= until:
                raise SinkError(f"the events were not acknowledged within {ACK_SECONDS:.0f} s")
            time.sleep(ACK_PAUSE)

    def _post(self, path: str, body: bytes) -> dict[str, Any]:
        reply = self.post(self._base + path, self._headers, body, self.config.ca_pem)
        told = _json(reply)
        failure = failure_of(reply)
        if failure is None and told is None:
            failure = SinkError("the reply is not one of HEC", refused=True)  # a login page, say
        if failure is not None:
            code = (told or {}).get("code")
            if type(code) is int:
                failure.refused = failure.refused or code in _SETTINGS
                failure.permanent = failure.permanent and not failure.refused
                failure.args = (f"{failure} (HEC code {code})",)
            raise failure
        return told or {}


def _json(reply: Response) -> dict[str, Any] | None:
    try:
        told = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
