"""The guard itself: resolve once, check every address, connect to the pinned one, keep the connection. T-15 to T-17."""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from tsp.egress.addresses import Address, EgressDenied, EgressError, EgressFailed, Rules, Target, check_host, parse_url
from tsp.egress.sockets import Socket, TlsSocket, dial
from tsp.egress.tls import context

MAX_HEADERS = 65_536
IDLE_SECONDS = 30.0
IDLE_EACH = 8
IDLE_ALL = 256
MAX_LOOKUPS = 32
CONNECT_SECONDS = 3.0
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~]*")

Resolver = Callable[[str, int], Sequence[str]]
_Key = tuple[int, str, str, int, int]
_within: ContextVar[tuple[float, bool] | None] = ContextVar("egress_within", default=None)


@dataclass(frozen=True, slots=True)
class Response:
    """A reply of at most `max_bytes`; the body does not print. A redirect is a reply like any other, never followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def system_resolver(host: str, port: int) -> Sequence[str]:
    """Every address of `host`. OSError when there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """The one outbound door. Thread-safe; one a process.

    `allow`: CIDRs that the operator opens in spite of the deny-list; plain http is spoken only to them. Proxies,
    credentials and certificate stores of the environment are never looked at. `resolve` is the seam for tests.
    """

    def __init__(self, allow: Sequence[str] = (), *, resolve: Resolver = system_resolver) -> None:
        self._rules = Rules(allow)
        self._resolve = resolve
        self._lookups = threading.BoundedSemaphore(MAX_LOOKUPS)
        self._idle: OrderedDict[_Key, deque[tuple[float, _Connection]]] = OrderedDict()
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 10.0,
        connect_timeout: float = CONNECT_SECONDS,
        max_bytes: int = 1_048_576,
        ca_pem: str = "",
        client_cert_pem: str = "",
        client_key_pem: str = "",
    ) -> Response:
        """One request, one reply, all within `timeout` seconds; EgressDenied or EgressFailed otherwise.

        A kept connection that turns out closed before the first byte of a reply is replaced once: so a request may
        arrive twice, and everything sent through here must bear that.
        """
        deadline = _capped(timeout)
        target = parse_url(url)
        sent = _headers(target, headers or {}, body)
        if not _TOKEN.fullmatch(method):
            raise ValueError("the method is not a token")
        tls = context(ca_pem, client_cert_pem, client_key_pem) if target.scheme == "https" else None
        # The context is cached for good (lru) or for the life of its connections, so its id names the TLS settings.
        key = (os.getpid(), target.scheme, target.host.lower(), target.port, id(tls))
        outer = _within.get()
        kept = None if outer is not None and outer[1] else self._take(key)
        for connection in (kept, None) if kept else (None,):
            fresh = connection is None
            if connection is None:
                connection = self._open(target, tls, deadline, connect_timeout)
            try:
                response, reusable = _exchange(connection, method, target.path, sent, body, deadline, max_bytes)
            except _StaleError:
                if not fresh:
                    continue
                raise EgressFailed("the connection was closed") from None
            if reusable:
                self._keep(key, connection)
            return response
        raise AssertionError("the last connection is a fresh one")

    def connect(self, host: str, port: int, *, tls: ssl.SSLContext | None, timeout: float) -> Socket:
        """A connection for protocols that are not HTTP; without `tls` only to hosts inside `allow`."""
        check_host(host)
        return self._connect(host, port, tls, _capped(timeout), timeout)

    @contextmanager
    def within(self, seconds: float, *, fresh: bool = False) -> Iterator[None]:
        """What this thread does through the door inside the block shares one deadline; `fresh`: on new connections."""
        outer = _within.get()
        token = _within.set((_capped(seconds), fresh or (outer is not None and outer[1])))
        try:
            yield
        finally:
            _within.reset(token)

    def close(self) -> None:
        """Drop the kept connections. The door stays usable."""
        with self._lock:
            dropped = [connection for line in self._idle.values() for _, connection in line]
            self._idle.clear()
        for connection in dropped:
            connection.close()

    def __del__(self) -> None:
        self.close()

    def _open(self, target: Target, tls: ssl.SSLContext | None, deadline: float, connect_timeout: float) -> _Connection:
        connection = _Connection(target.host, target.port)
        connection.sock = self._connect(target.host, target.port, tls, deadline, connect_timeout)
        connection.tls = tls
        return connection

    def _connect(
        self, host: str, port: int, tls: ssl.SSLContext | None, deadline: float, connect_timeout: float
    ) -> Socket:
        self._rules.check_name(host)
        addresses = self._addresses(host, port, deadline)
        self._rules.check(host, port, addresses, plain=tls is None)
        for address in addresses:  # each passed; the next is tried when one does not answer
            try:
                sock = dial(str(address), port, min(connect_timeout, _left(deadline)))
            except OSError:
                continue
            if tls is None:
                return sock
            return _handshake(sock, tls, host, deadline)
        raise EgressFailed("no connection could be made")

    def _addresses(self, host: str, port: int, deadline: float) -> list[Address]:
        literal = check_host(host)
        if literal is not None:
            return [literal]
        if not self._lookups.acquire(timeout=_left(deadline)):
            raise EgressFailed("too many names are being looked up")
        found: list[str] = []
        done = threading.Event()

        def look_up() -> None:
            try:
                found.extend(self._resolve(host, port))
            except (OSError, UnicodeError):
                pass  # no address: said below
            finally:
                self._lookups.release()
                done.set()

        # getaddrinfo takes no timeout: it gets a thread of its own, which cannot hold up a request or an exit.
        threading.Thread(target=look_up, name="egress-lookup", daemon=True).start()
        if not done.wait(_left(deadline)):
            raise EgressFailed("the name could not be looked up in time")
        try:
            return [ip_address(text) for text in found]
        except ValueError:  # an address with a zone
            raise EgressDenied("the host has an address that is not public") from None

    def _take(self, key: _Key) -> _Connection | None:
        while True:
            with self._lock:
                line = self._idle.get(key)
                if not line:
                    return None
                since, connection = line.pop()
            if time.monotonic() - since <= IDLE_SECONDS and not _readable(connection.sock):
                return connection
            connection.close()

    def _keep(self, key: _Key, connection: _Connection) -> None:
        dropped = []
        with self._lock:
            line = self._idle.setdefault(key, deque())
            self._idle.move_to_end(key)
            line.append((time.monotonic(), connection))
            if len(line) > IDLE_EACH:
                dropped.append(line.popleft())
            while len(self._idle) > IDLE_ALL:
                dropped.extend(self._idle.popitem(last=False)[1])
        for _, old in dropped:
            old.close()


class _Connection(HTTPConnection):
    auto_open = 0  # http.client never dials by itself
    sock: Socket
    tls: ssl.SSLContext | None  # kept alive while its id is part of a key


class _StaleError(Exception):
    """The connection ended before the first byte of a reply."""


def _capped(seconds: float) -> float:
    deadline = time.monotonic() + seconds
    outer = _within.get()
    return deadline if outer is None else min(deadline, outer[0])


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise EgressFailed("the time for this request is over")
    return left


def _headers(target: Target, given: Mapping[str, str], body: bytes) -> list[tuple[str, str]]:
    names = {name.lower() for name in given}
    if names & {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}:
        raise ValueError("the door writes Host, Content-Length and Accept-Encoding itself")
    if not all(_TOKEN.fullmatch(name) and _VALUE.fullmatch(value) for name, value in given.items()):
        raise ValueError("a header's name or value holds characters that it cannot hold")
    made = [("Host", target.authority), ("Accept-Encoding", "identity"), *given.items()]
    if "user-agent" not in names:
        made.append(("User-Agent", "cmk-tsp"))
    return [*made, ("Content-Length", str(len(body)))]


def _exchange(
    connection: _Connection,
    method: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
    deadline: float,
    max_bytes: int,
) -> tuple[Response, bool]:
    """The reply, and whether the connection may be used again. It is closed in every other case."""
    connection.sock.limit(deadline, max_bytes + MAX_HEADERS)
    failure: Exception | None = None
    reply = None
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body or None)
        reply = connection.getresponse()
        # http.client takes an end of the connection for the end of the headers, and a short body for a whole one.
        if reply.length is None and not reply.chunked:
            raise EgressFailed("the reply does not tell its length")
        content = reply.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise EgressFailed("the reply is too large")
        if reply.length:
            raise EgressFailed("the connection was cut")
        if reply.headers.get("content-encoding", "identity").lower() != "identity":
            raise EgressFailed("the reply is packed, which was not asked for")
        reusable = reply.isclosed() and not reply.will_close
        found: dict[str, str] = {}
        for name, value in reply.headers.items():
            lower = name.lower()
            found[lower] = f"{found[lower]}, {value}" if lower in found else value
        return Response(reply.status, found, content), _settled(connection, reusable)
    except EgressError as error:
        failure = error
    except TimeoutError:
        failure = EgressFailed("the time for this request is over")
    except ConnectionError:  # RemoteDisconnected is one
        failure = _StaleError() if reply is None else EgressFailed("the connection was cut")
    except (OSError, HTTPException):
        failure = EgressFailed("the reply is not one of HTTP")
    if reply is not None:
        reply.close()  # it holds on to the socket
    connection.close()
    raise failure from None


def _settled(connection: _Connection, reusable: bool) -> bool:
    if not reusable:
        connection.close()
    return reusable


def _readable(sock: Socket | None) -> bool:
    """Bytes or an end wait on an idle connection: it is of no use any more."""
    if sock is None or (isinstance(sock, TlsSocket) and sock.pending()):
        return True
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def _handshake(sock: Socket, tls: ssl.SSLContext, host: str, deadline: float) -> TlsSocket:
    try:
        sock.settimeout(_left(deadline))
        wrapped = tls.wrap_socket(sock, server_hostname=host)
    except (OSError, ValueError, EgressFailed):
        sock.close()
    else:
        if isinstance(wrapped, TlsSocket):
            return wrapped
        wrapped.close()
        raise TypeError("the context must come from tsp.egress.tls.context")
    raise EgressFailed("no trusted TLS connection could be made")
