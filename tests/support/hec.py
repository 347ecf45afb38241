"""Receivers of events for tests: a Splunk HTTP Event Collector and a webhook that can be made to fail."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

HOOK_SECRET = "whsec_" + base64.b64encode(b"the signing secret of a log hook").decode()


class Receiver:
    """A real server in a thread. `events` holds what it took. `mode` is how it behaves:

    ok · hang (no reply) · cut (closes) · throttle (429 with Retry-After 7) · busy (503) · forbid (403) · login (401) ·
    moved (302) · page (200 with HTML). An event whose id is in `poison` makes it answer 400.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.mode = "ok"
        self.poison: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True  # the connection broke

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    self.close_connection = True  # the connection broke
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                if receiver.mode == "cut":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if receiver.mode == "hang":
                    receiver.released.wait(30)
                    self.close_connection = True
                    return
                status, told, extra = receiver.mode_reply() or receiver.take(self.path, headers, body)
                content = told.encode() if isinstance(told, str) else json.dumps(told).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def mode_reply(self) -> tuple[int, Any, dict[str, str]] | None:
        return {
            "throttle": (429, {"text": "Server is busy", "code": 26}, {"Retry-After": "7"}),
            "busy": (503, {"text": "Server is busy", "code": 9}, {}),
            "forbid": (403, {"text": "Invalid token", "code": 4}, {}),
            "login": (401, "<html>log in</html>", {}),
            "moved": (302, "", {"Location": "http://169.254.169.254/"}),
        }.get(self.mode)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Check and keep what came; the status, the reply and more headers."""
        raise NotImplementedError

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class Hec(Receiver):
    """As Splunk documents it. `acks`: the token wants acknowledgement; `ack_after`: how many polls until it comes."""

    def __init__(
        self, token: str, *, acks: bool = False, index: str = "main", tls: ssl.SSLContext | None = None
    ) -> None:
        self.token, self.acks, self.index = token, acks, index
        self.ack_after = 1
        self._given: dict[tuple[str, int], int] = {}
        super().__init__(tls)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        if self.mode == "page":
            return 200, "<html>welcome</html>", {}
        if headers.get("authorization") != f"Splunk {self.token}":
            return 403, {"text": "Invalid token", "code": 4}, {}
        channel = headers.get("x-splunk-request-channel", "")
        if self.acks and not channel:
            return 400, {"text": "Data channel is missing", "code": 10}, {}
        if path == "/services/collector/ack":
            return self._poll(channel, json.loads(body)["acks"])
        if path != "/services/collector/event":
            return 404, {"text": "The requested URL was not found on this server.", "code": 404}, {}
        return self._events(channel, body)

    def _events(self, channel: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        found, decoder, text = [], json.JSONDecoder(), body.decode()
        while text:
            event, end = decoder.raw_decode(text)
            found.append(event)
            text = text[end:].lstrip()
        if not found:
            return 400, {"text": "No data", "code": 5}, {}
        for number, event in enumerate(found):
            if event.get("index", self.index) != self.index:
                return 400, {"text": "Incorrect index", "code": 7, "invalid-event-number": number}, {}
            if event.get("event") in (None, "", {}) or event["fields"]["event_id"] in self.poison:
                return 400, {"text": "Invalid data format", "code": 6, "invalid-event-number": number}, {}
        self.events += found
        if not self.acks:
            return 200, {"text": "Success", "code": 0}, {}
        number = len(self._given)
        self._given[channel, number] = 0
        return 200, {"text": "Success", "code": 0, "ackId": number}, {}

    def _poll(self, channel: str, numbers: list[int]) -> tuple[int, Any, dict[str, str]]:
        told = {}
        for number in numbers:
            if (channel, number) in self._given:
                self._given[channel, number] += 1
            told[str(number)] = self._given.get((channel, number), -1) >= self.ack_after
        return 200, {"acks": told}, {}


class Hook(Receiver):
    """A webhook that verifies with the `standardwebhooks` library, which is not ours."""

    def __init__(self, secret: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._verify: Callable[[bytes, dict[str, str]], Any] = Webhook(secret).verify
        super().__init__(tls)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        try:
            told = self._verify(body, headers)
        except WebhookVerificationError:
            return 401, {"error": "signature"}, {}
        found = told["data"]["events"]
        if any(_id(event) in self.poison for event in found):
            return 400, {"error": "cannot be read"}, {}
        self.events += found
        return 204, "", {}


def _id(event: dict[str, Any]) -> str:
    return str(event["cmk"]["id"] if "cmk" in event else event["id"])
