"""The portal's side of tenant secrets for tests of the proxy: real HTTP, rotations by hand, and faults on demand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tsp.contract.secrets import place_of

TOKEN = "secrets-token-for-tests"
Place = tuple[str, str]


class SecretPortal:
    """`asked` holds (method, If-None-Match, status) of each call. `raw`, when set, is sent instead: (status, body).

    A call waits while `gate` is cleared.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.posted: list[dict[str, Any]] = []
        self.raw: tuple[int, bytes] | None = None
        self.gate = threading.Event()
        self.gate.set()
        self._rows: dict[Place, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._last = 0
        self._connections: list[socket.socket] = []
        portal = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                portal._connections.append(self.connection)

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                self.answer("GET", *portal._show((query["tenant"][0], query["place"][0])))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer("POST", *portal._keep(body))

            def answer(self, method: str, status: int, body: bytes) -> None:
                portal.gate.wait(10)
                known = self.headers.get("If-None-Match", "")
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    status, body = 401, b"{}"
                elif portal.raw is not None:
                    status, body = portal.raw
                tag = f'"{hashlib.sha256(body).hexdigest()}"'
                if status == 200 and known == tag:
                    status, body = 304, b""
                portal.asked.append((method, known, status))
                self.send_response(status)
                self.send_header("ETag", tag)
                if status != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def rotate(self, tenant: str, kind: str, path: str) -> None:
        """The current secret goes into rotation; its successor, once made, is at once the one to encrypt with."""
        with self._lock:
            self._rows[tenant, place_of(kind, path)][0]["current"] = False

    def rows(self, tenant: str, kind: str, path: str) -> list[dict[str, Any]]:
        return self._rows.get((tenant, place_of(kind, path)), [])

    def swap(self, one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
        """A portal that lies: each place shows the other's secret."""
        first, second = ((tenant, place_of(kind, path)) for tenant, kind, path in (one, other))
        self._rows[first], self._rows[second] = self._rows[second], self._rows[first]

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):  # the other side may have gone first
                connection.shutdown(socket.SHUT_RDWR)

    def _keep(self, body: dict[str, Any]) -> tuple[int, bytes]:
        place = (body["tenant"], place_of(body["type"], body["path"]))
        with self._lock:
            self.posted.append(body)
            rows = self._rows.setdefault(place, [])
            new = not any(row["current"] for row in rows)
            if new:
                self._last += 1
                rows.insert(0, {"id": self._last, "wrapped": body["wrapped"], "current": True})
        return (201 if new else 200), self._show(place)[1]

    def _show(self, place: Place) -> tuple[int, bytes]:
        rows = self._rows.get(place, [])
        wanting = not any(row["current"] for row in rows)
        shown = [{**row, "current": at == 0} for at, row in enumerate(rows[:2])]
        return 200, json.dumps({"secrets": shown, "wanting": wanting}).encode()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a connection that `stop` cut
            super().handle_error(request, client_address)


def wrapped_of(row: dict[str, Any]) -> bytes:
    return base64.b64decode(row["wrapped"])
