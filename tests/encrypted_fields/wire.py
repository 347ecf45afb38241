"""The proxy in memory behind a real socket, with faults that a network has."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from encrypted_fields.core.errors import CmkError, InvalidRequest, Unauthorized
from encrypted_fields.core.protocol import Metadata, Uses
from encrypted_fields.testing import MemoryTsp

API_KEY = "d2lyZS10ZXN0LWFwaS1rZXk="
Fault = Callable[[BaseHTTPRequestHandler, dict[str, Any]], bool]  # True: it has answered, or hung up


class WireTsp(ThreadingHTTPServer):
    """Serves on a free port of loopback until `close`. `fault` sees each request first."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tsp, self.fault, self.connections = MemoryTsp(), None, 0  # type: MemoryTsp, Fault | None, int
        self.bodies: list[dict[str, Any]] = []
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        host = "localhost" if tls else "127.0.0.1"
        self.url = f"{'https' if tls else 'http'}://{host}:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WireTsp

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if self.server.fault is not None and self.server.fault(self, body):
            return
        try:
            if self.headers["Authorization"] != f"cmk {API_KEY}":
                raise Unauthorized
            reply(self, 200, self._answer(body))
        except CmkError as error:
            reply(self, error.http, {"code": error.code, "message": error.message})

    def _answer(self, body: dict[str, Any]) -> Any:
        tsp, icl = self.server.tsp, body["iclFields"]
        about = Metadata(body["tenantId"], icl["requestingId"], icl.get("dataLabel"), object_id=icl.get("objectId"))
        match self.path.removeprefix("/api/1/"):
            case "document/wrap":
                return _wrapped(tsp.wrap(about))
            case "document/unwrap":
                return {"dek": _b64(tsp.unwrap(about, base64.b64decode(body["encryptedDocumentKey"])))}
            case "document/batch-wrap":
                ids = body["documentIds"]
                found = dict(zip(ids, tsp.batch_wrap(about, len(ids)), strict=True))
                return _split(found, _wrapped)
            case "document/batch-unwrap":
                edeks = {name: base64.b64decode(edek) for name, edek in body["edeks"].items()}
                opened = dict(zip(edeks, tsp.batch_unwrap(about, list(edeks.values())), strict=True))
                return _split(opened, lambda dek: {"dek": _b64(dek)})
            case "document/batch-rekey":
                edeks = {name: base64.b64decode(edek) for name, edek in body["edeks"].items()}
                moved = tsp.batch_rekey(about, list(edeks.values()), body["newTenantId"])
                return _split(dict(zip(edeks, moved, strict=True)), lambda edek: {"edek": _b64(edek)})
            case "document/report-operations":
                uses = {base64.b64decode(edek): Uses(**count) for edek, count in body["operations"].items()}
                return tsp.report_operations(about, uses)
            case "event/security-event":
                return tsp.security_event(about, icl["event"])
        raise InvalidRequest

    def log_message(self, *args: object) -> None:
        """Quiet."""


def reply(handler: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def _split(found: dict[str, Any], render: Callable[[Any], Any]) -> Any:
    bad = {name: one for name, one in found.items() if isinstance(one, CmkError)}
    return {
        "keys": {name: render(one) for name, one in found.items() if name not in bad},
        "failures": {name: {"code": one.code, "message": one.message} for name, one in bad.items()},
    }


def _wrapped(key: Any) -> dict[str, str]:
    return {"dek": _b64(key.dek), "edek": _b64(key.edek)}


def _b64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()
