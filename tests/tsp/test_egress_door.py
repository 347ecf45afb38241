"""The guard against servers that misbehave (T-17), and what it keeps and lets go."""

from __future__ import annotations

import gzip
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.faults import FaultServer, reply, serving
from tsp.egress import Egress, EgressDenied, EgressFailed

LOCAL = ["127.0.0.0/8"]


def _answering(answer: bytes) -> Callable[[FaultServer, socket.socket], None]:
    def behave(server: FaultServer, sock: socket.socket) -> None:
        if server.request(sock):
            sock.sendall(answer)

    return behave


def _forever(head: bytes, part: bytes, pause: float = 0.0) -> Callable[[FaultServer, socket.socket], None]:
    def behave(server: FaultServer, sock: socket.socket) -> None:
        if server.request(sock):
            sock.sendall(head)
            while True:
                sock.sendall(part)
                time.sleep(pause)

    return behave


def _echo(server: FaultServer, sock: socket.socket) -> None:
    while server.request(sock):
        sock.sendall(reply(200, b"hello"))


_OK = b"HTTP/1.1 200 OK\r\n"
HOSTILE: dict[str, Callable[[FaultServer, socket.socket], None]] = {
    "says nothing": lambda server, sock: time.sleep(30),
    "one byte of the status line a moment": _forever(b"", b"H", 0.05),
    "one byte of a header a moment": _forever(_OK + b"X: ", b"a", 0.05),
    "one byte of the body a moment": _forever(_OK + b"Content-Length: 100000\r\n\r\n", b"a", 0.05),
    "headers without end": _forever(_OK, b"X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
    "a header line without end": _forever(_OK + b"X: ", b"a" * 4096),
    "interim replies without end": _forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks without end": _forever(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"a" * 4096 + b"\r\n"),
    "tiny chunks with long extensions": _forever(
        _OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 4096 + b"\r\na\r\n"
    ),
    "trailers without end": _forever(_OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n"),
    "a chunk size that is none": _answering(_OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\na\r\n"),
    "a body without end and length": _forever(_OK + b"Connection: close\r\n\r\n", b"a" * 65536),
    "a length beyond the cap": _answering(_OK + b"Content-Length: 99999999\r\n\r\n" + b"a" * 70000),
    "a length that is not reached": _answering(_OK + b"Content-Length: 10\r\n\r\nabc"),
    "a negative length and no end": _forever(_OK + b"Content-Length: -1\r\n\r\n", b"a" * 4096),
    "a gzip bomb": _answering(reply(200, gzip.compress(b"\0" * 10_000_000), Content_Encoding="gzip")),
    "another packing": _answering(reply(200, b"x", Content_Encoding="br")),
    "no HTTP": _answering(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "HTTP/0.9": _answering(b"<html>hello</html>"),
    "another version": _answering(b"HTTP/9.9 200 OK\r\n\r\n"),
    "a status that is none": _answering(b"HTTP/1.1 abc OK\r\n\r\n"),
    "a cut after the status line": _answering(_OK),
    "a cut in the headers": _answering(_OK + b"Content-Le"),
    "an end at once": lambda server, sock: None,
    "terminal escapes": _answering(b"HTTP/1.1 \x1b[2J\x1b]0;owned\x07 no\r\n\r\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server_costs_bounded_time_and_memory(name: str) -> None:
    """T-17: no thread is stuck past the deadline + 1 s, and what came is neither returned nor quoted."""
    with serving(HOSTILE[name]) as server:
        egress = Egress(LOCAL)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        with pytest.raises(EgressFailed) as raised:
            egress.request("POST", server.url, body=b"{}", timeout=0.7, max_bytes=50_000)
        assert time.monotonic() - began < 1.7
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 100
        assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "name",
    [
        "headers without end",
        "a header line without end",
        "interim replies without end",
        "chunks without end",
        "tiny chunks with long extensions",
        "trailers without end",
    ],
)
def test_a_flood_is_ended_by_its_bytes_long_before_the_time_is_over(name: str) -> None:
    with serving(HOSTILE[name]) as server:
        began = time.monotonic()
        with pytest.raises(EgressFailed):
            Egress(LOCAL).request("GET", server.url, timeout=20, max_bytes=50_000)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_reply_and_not_followed(status: int) -> None:
    with serving(_echo) as canary, serving(_answering(reply(status, b"", Location=canary.url))) as server:
        assert Egress(LOCAL).request("GET", server.url).status == status
        assert canary.accepted == 0


def test_a_reply_is_whole_and_its_headers_are_lower_case() -> None:
    answer = b"HTTP/1.1 404 No\r\nContent-Length: 3\r\nX-Two: a\r\nx-two: b\r\n\r\nabc"
    with serving(_answering(answer)) as server:
        found = Egress(LOCAL).request("GET", server.url + "/a/b?c=%20d")
    assert (found.status, found.body, found.headers["x-two"]) == (404, b"abc", "a, b")
    assert "abc" not in repr(found)
    head = server.received[0].decode()
    assert head.startswith("GET /a/b?c=%20d HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "\r\nAccept-Encoding: identity\r\n" in head


def test_connections_are_kept_and_each_is_checked_once() -> None:
    with serving(_echo) as server:
        egress = Egress(LOCAL)
        for _ in range(20):
            assert egress.request("POST", server.url, body=b"x").body == b"hello"
        assert server.accepted == 1
        egress.close()
        egress.request("POST", server.url)
        assert server.accepted == 2
        with egress.within(5, fresh=True):
            egress.request("POST", server.url)
        assert server.accepted == 3


def test_a_kept_connection_that_the_server_closed_is_replaced_unseen() -> None:
    def once(server: FaultServer, sock: socket.socket) -> None:
        server.request(sock)
        sock.sendall(reply(200, b"once"))  # promises to stay, and goes

    with serving(once) as server:
        egress = Egress(LOCAL)
        for _ in range(3):
            assert egress.request("GET", server.url).body == b"once"
        assert server.accepted == 3


def test_a_connection_that_dies_under_the_request_is_replaced_once() -> None:
    def dying(server: FaultServer, sock: socket.socket) -> None:
        if server.accepted == 1:
            server.request(sock)
            sock.sendall(reply(200, b"one"))
            server.request(sock)  # and no reply
        elif server.request(sock):
            sock.sendall(reply(200, b"two"))

    with serving(dying) as server:
        egress = Egress(LOCAL)
        assert egress.request("GET", server.url).body == b"one"
        assert egress.request("GET", server.url).body == b"two"
        assert server.accepted == 2


def test_bytes_after_a_reply_are_not_taken_for_the_next_one() -> None:
    def smuggling(server: FaultServer, sock: socket.socket) -> None:
        while server.request(sock):
            sock.sendall(reply(200, b"right") + (reply(200, b"wrong") if server.accepted == 1 else b""))

    with serving(smuggling) as server:
        egress = Egress(LOCAL)
        for _ in range(3):
            assert egress.request("GET", server.url).body == b"right"
            time.sleep(0.05)


def test_one_deadline_holds_for_all_that_happens_within() -> None:
    with serving(HOSTILE["says nothing"]) as server:
        egress = Egress(LOCAL)
        began = time.monotonic()
        with egress.within(0.4):
            for _ in range(3):
                with pytest.raises(EgressFailed):
                    egress.request("GET", server.url, timeout=10)
        assert time.monotonic() - began < 1.0


def test_a_name_server_that_hangs_is_bounded() -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        release.wait(10)
        return ["127.0.0.1"]

    began = time.monotonic()
    with pytest.raises(EgressFailed):
        Egress(LOCAL, resolve=hang).request("GET", "https://slow.example/", timeout=0.3)
    assert time.monotonic() - began < 1
    release.set()


def test_an_address_that_does_not_answer_gives_way_to_the_next() -> None:
    with serving(_echo) as server:
        egress = Egress(LOCAL, resolve=lambda host, port: ["127.0.0.3", "127.0.0.1"])
        assert egress.request("GET", f"http://two.example:{server.port}/").body == b"hello"
        assert b"Host: two.example:" in server.received[0]


def test_headers_cannot_be_split_or_framing_replaced() -> None:
    egress = Egress(LOCAL)
    with serving(_echo) as server:
        for headers in ({"X": "a\r\nEvil: 1"}, {"X\r\nEvil": "1"}, {"Host": "evil"}, {"Content-Length": "0"}):
            with pytest.raises(ValueError, match=r"."):
                egress.request("GET", server.url, headers=headers)
        with pytest.raises(ValueError, match="method"):
            egress.request("GET / HTTP/1.1\r\nX:", server.url)
        assert egress.request("GET", server.url).status == 200
    assert b"Evil" not in b"".join(server.received)


def test_raw_connections_pass_the_same_rules() -> None:
    with serving(_echo) as server:
        sock = Egress(LOCAL).connect("127.0.0.1", server.port, tls=None, timeout=2)
        assert sock.getpeername() == ("127.0.0.1", server.port)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert sock.recv(100).endswith(b"hello")
        sock.close()
        for egress, host in ((Egress(), "127.0.0.1"), (Egress(LOCAL), "10.0.0.1"), (Egress(), "localhost")):
            with pytest.raises(EgressDenied):
                egress.connect(host, server.port, tls=None, timeout=1)
        assert server.accepted == 1


@pytest.fixture
def poisoned_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A trap that every variable points at."""
    with serving(_answering(reply(200, b"trap"))) as trap:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
        monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
        yield trap


def test_proxies_of_the_environment_are_not_used(poisoned_environment: FaultServer) -> None:
    with serving(_echo) as server:
        assert Egress(LOCAL).request("GET", server.url).body == b"hello"
    assert poisoned_environment.accepted == 0


class _Connects:
    """Every connect() of the process, as the interpreter reports it."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.on = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event == "socket.connect":
            self.seen.append(arguments[1])


_connects = _Connects()
sys.addaudithook(_connects)


def test_only_the_pinned_address_is_dialled() -> None:
    with serving(_echo) as server:
        egress = Egress(LOCAL, resolve=lambda host, port: ["127.0.0.1"])
        _connects.on, _connects.seen = True, []
        try:
            egress.request("GET", f"http://a.example:{server.port}/")
        finally:
            _connects.on = False
    assert _connects.seen == [("127.0.0.1", server.port)]


def test_a_forked_process_does_not_share_kept_connections() -> None:
    with serving(_echo) as server:
        egress = Egress(LOCAL)
        egress.request("GET", server.url)
        keys = list(egress._idle)
        assert keys
        assert all(key[0] == os.getpid() for key in keys)
