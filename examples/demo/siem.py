"""The tenants' own log servers, played by one small program: it takes events only with the right token or signature.

`/north/services/collector/event` speaks Splunk's HTTP Event Collector, `/south/hook` Standard Webhooks;
`/` shows what came.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MAX_BODY = 10_000_000
_MAX_AGE = 300  # seconds; an older signature is a replay


class Siem:
    """Listens on a port of the loopback from `start` to `stop`; `events(tenant)` is what was accepted, oldest first."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.hec_token = secrets.token_hex(16)
        self._hook_key = secrets.token_bytes(32)
        self.hook_secret = "whsec_" + base64.b64encode(self._hook_key).decode()
        self.turned_away = 0
        self._events: dict[str, dict[str, dict[str, Any]]] = {"north": {}, "south": {}}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="siem", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def events(self, tenant: str) -> list[dict[str, Any]]:
        with self._lock:
            return sorted(self._events[tenant].values(), key=lambda event: str(event["id"]))

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """The HTTP status of the reply: 200 taken, 400 not events, 401 wrong token or signature, 404 nobody there."""
        tenant, trusted = {
            "/north/services/collector/event": ("north", self._has_token(headers)),
            "/south/hook": ("south", self._is_signed(headers, body)),
        }.get(path, ("", False))
        if not tenant:
            return 404
        if not trusted:
            self.turned_away += 1
            return 401
        try:
            found = events_in(body)
        except ValueError:
            return 400
        with self._lock:
            self._events[tenant].update({str(event["id"]): event for event in found})  # the same id again is a repeat
        return 200

    def page(self) -> str:
        """The events of both tenants as a page that reloads itself."""
        return _PAGE.format(tables="".join(_table(tenant, self.events(tenant)) for tenant in self._events))

    def _has_token(self, headers: dict[str, str]) -> bool:
        return hmac.compare_digest(headers.get("authorization", ""), f"Splunk {self.hec_token}")

    def _is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        number, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not number or not stamp.isdigit() or abs(time.time() - int(stamp)) > _MAX_AGE:
            return False
        wanted = hmac.digest(self._hook_key, f"{number}.{stamp}.".encode() + body, hashlib.sha256)
        given = [part.removeprefix("v1,") for part in headers.get("webhook-signature", "").split()]
        return any(hmac.compare_digest(base64.b64encode(wanted).decode(), one) for one in given)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        siem = self

        class Receiver(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if length > _MAX_BODY:
                    self._reply(413, b"")
                    self.close_connection = True
                    return
                body = self.rfile.read(length)
                status = siem.take(self.path, {name.lower(): text for name, text in self.headers.items()}, body)
                self._reply(status, b'{"text":"Success","code":0}' if status == 200 else b'{"text":"refused","code":4}')

            def do_GET(self) -> None:
                self._reply(200, siem.page().encode(), "text/html; charset=utf-8")

            def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Silent: the terminal belongs to the story."""

        return Receiver


def events_in(body: bytes) -> list[dict[str, Any]]:
    """The audit events in a request: JSON objects after each other, lists of them, or wrapped as {"event": …}.

    ValueError for anything else.
    """
    decoder, text, at, found = json.JSONDecoder(), body.decode(), 0, []
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace():
            at += 1
        found += _flat(value)
    return found


def _flat(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [event for item in value for event in _flat(item)]
    if isinstance(value, dict):
        for name in ("event", "events", "data"):
            if isinstance(value.get(name), dict | list):
                return _flat(value[name])
        if "id" in value and "action" in value:
            return [value]
    raise ValueError("not an audit event")


def _table(tenant: str, events: list[dict[str, Any]]) -> str:
    names = ("time", "action", "outcome", "requesting_id", "data_label", "object_id", "count")
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(event.get(name, '')))}</td>" for name in names) + "</tr>"
        for event in reversed(events[-200:])
    )
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in names)
    return f"<h2>{tenant} · {len(events)} events</h2><table><tr>{head}</tr>{rows}</table>"


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3">
<meta name="viewport" content="width=device-width"><title>What the tenants' log servers received</title><style>
body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:68rem;padding:0 1rem;color:#1d2730}}
h1{{font-size:1.3rem}} h2{{font-size:1.05rem;margin-top:2rem;text-transform:capitalize}}
table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #dde3e8}}
td{{font-family:ui-monospace,monospace;font-size:13px}} th{{font-weight:600;color:#5a6872}}
</style><h1>What the tenants' own log servers received</h1>
<p>Each tenant sees every access to its keys, as it happens. Nobody at the vendor can hold an event back.</p>
{tables}</html>
"""
