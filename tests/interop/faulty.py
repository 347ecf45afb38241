"""A proxy with one fault: passes requests on to a good one and spoils what goes in or comes out."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from encrypted_fields.core.protobuf import fields, length, varint
from tests.support.sandbox import Sandbox

Reply = tuple[int, Any]
After = Callable[[str, dict[str, Any], int, Any], Reply]


class FaultyProxy:
    """Stands for `good` at its own `url`. `before` changes a request, `after` a reply. `close` ends it."""

    def __init__(
        self, good: Sandbox, after: After | None = None, *, before: Any = None, open_door: bool = False
    ) -> None:
        self.api_key, self.tenants, self.events, self.process = good.api_key, good.tenants, good.events, good.process
        self._session = session = httpx.Client(base_url=good.url, trust_env=False, timeout=30)

        class Relay(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = f"cmk {good.api_key}" if open_door else self.headers["Authorization"]
                route = self.path.removeprefix("/api/1/")
                asked = before(route, body) if before else body
                found = session.post(self.path, json=asked, headers={"Authorization": key})
                status, reply = found.status_code, found.json()
                if after:
                    status, reply = after(route, body, status, reply)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: keys pass here."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        self._session.close()


def event_as_object(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    return (status, {}) if route == "event/security-event" else (status, reply)


def configuration_zero(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    if route == "document/wrap" and status == 200:
        members = dict(_element(reply["edek"]))
        members[2] = 0
        reply["edek"] = _edek(members)
    return status, reply


def wrong_dek(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    if route == "document/unwrap" and status == 200:
        reply["dek"] = base64.b64encode(os.urandom(32)).decode()
    return status, reply


def short_dek(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    if "dek" in reply:
        reply["dek"] = base64.b64encode(base64.b64decode(reply["dek"])[:16]).decode()
    return status, reply


def derive_ignoring_the_path(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    for keys in reply.get("derivedKeys", {}).values():
        for name in keys:
            keys[name][0]["derivedKey"] = base64.b64encode((body["tenantId"] * 64).encode()[:64]).decode()
    return status, reply


def derive_at_random(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    for keys in reply.get("derivedKeys", {}).values():
        for name in keys:
            keys[name][0]["derivedKey"] = base64.b64encode(os.urandom(64)).decode()
    return status, reply


def dropped_id(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    if reply and reply.get("keys"):
        reply["keys"].popitem()
    return status, reply


def no_failures(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    return status, {name: value for name, value in reply.items() if name != "failures"} if reply else reply


def rekey_to_itself(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    return status, {**reply, "edek": body["encryptedDocumentKey"]} if route == "document/rekey" else reply


def forbidden_for_unauthorized(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
    return 403 if status == 401 else status, reply


def opaque_edek() -> After:
    """EDEKs that are only a number for what the proxy keeps."""
    kept: dict[str, str] = {}

    def after(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
        if "edek" in reply:
            number = base64.b64encode(os.urandom(32)).decode()
            kept[number], reply["edek"] = reply["edek"], number
        return status, reply

    return after


def looked_up_by_bytes() -> After:
    """Knows an EDEK only in the very bytes in which it gave it out."""
    given: set[str] = set()

    def after(route: str, body: dict[str, Any], status: int, reply: Any) -> Reply:
        if "edek" in reply:
            given.add(reply["edek"])
        if route == "document/unwrap" and body["encryptedDocumentKey"] not in given:
            return 422, {"code": 203, "message": "never heard of it"}
        return status, reply

    return after


def any_tenant(route: str, body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "tenantId": "a"}


def one_secret_for_all_types(route: str, body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "secretType": "deterministic"} if "secretType" in body else body


def _element(edek: str) -> list[tuple[int, int | bytes]]:
    ((_, element),) = fields(base64.b64decode(edek))
    return list(fields(element)) if isinstance(element, bytes) else []


def _edek(members: dict[int, Any]) -> str:
    parts = [varint(n, v) if isinstance(v, int) else length(n, v) for n, v in members.items()]
    return base64.b64encode(length(1, b"".join(parts))).decode()
