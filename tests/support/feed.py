"""A portal's feed for tests: sealed records over real HTTP, with ETag, and what proxies report."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.people import VENDOR
from tsp.contract import sealed
from tsp.contract.sealed import Record

TOKEN = "feed-token-for-tests"


class FeedServer:
    """`records` and `disabled` are what it serves, `reports` what it was told, `asked` each path and ETag.

    `raw`, when set, is sent instead: (status, body).
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.disabled: list[int] = []
        self.reports: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.raw: tuple[int, bytes] | None = None
        self.page = 500
        feed = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True  # a proxy that was killed

            def do_GET(self) -> None:
                tag = self.headers.get("If-None-Match", "")
                feed.asked.append((self.path, tag))
                self.answer(*feed.reply(self.path, self.headers.get("Authorization", ""), tag))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self.answer(401, b"", "")
                feed.reports.append(json.loads(body))
                return self.answer(204, b"", "")

            def answer(self, status: int, body: bytes, tag: str) -> None:
                self.send_response(status)
                if tag:
                    self.send_header("ETag", tag)
                if status not in (204, 304):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def reply(self, path: str, authorization: str, tag: str) -> tuple[int, bytes, str]:
        if authorization != f"Bearer {TOKEN}":
            return 401, b"", ""
        if self.raw is not None:
            return (*self.raw, "")
        after = int(parse_qs(urlsplit(path).query)["after"][0])
        found = sorted((one for one in self.records if one.sequence > after), key=lambda one: one.sequence)
        sent = {
            "vendor": VENDOR,
            "records": [sealed.dump(one) for one in found[: self.page]],
            "disabled": self.disabled,
            "more": len(found) > self.page,
        }
        body = json.dumps(sent).encode()
        now = f'"{after}-{len(self.records)}-{self.disabled}"'
        return (304, b"", now) if tag == now else (200, body, now)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
