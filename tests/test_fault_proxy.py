"""Q-3: each fault is what it says, on connections that are open and on new ones. Other tests stand on it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.support.fault_proxy import FaultProxy, Faults, fault_proxy
from tests.support.faults import FaultServer, serving


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Sends back what it gets, and keeps it."""

    def echo(server: FaultServer, sock: socket.socket) -> None:
        while data := sock.recv(65_536):
            server.received.append(data)
            sock.sendall(data)

    with serving(echo) as running:
        yield running


@pytest.fixture
def proxy(server: FaultServer) -> Iterator[FaultProxy]:
    with fault_proxy(server.port) as running:
        yield running


def _connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def _echoed(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    found = b""
    while len(found) < len(data) and (part := sock.recv(65_536)):
        found += part
    return found


@pytest.mark.parametrize(
    ("faults", "least"),
    [(Faults(), 0.0), (Faults(latency=0.1), 0.2), (Faults(bandwidth=200_000), 0.2), (Faults(slice=7), 0.0)],
    ids=["nothing", "latency", "bandwidth", "slice"],
)
def test_slow_networks_change_no_byte(proxy: FaultProxy, faults: Faults, least: float) -> None:
    data = bytes(range(256)) * 157
    proxy.tell(faults)
    began = time.monotonic()
    with _connect(proxy) as sock:
        assert _echoed(sock, data) == data
    assert time.monotonic() - began >= least
    assert proxy.passed == 2 * len(data)


def test_slices_arrive_in_parts(proxy: FaultProxy, server: FaultServer) -> None:
    """What comes from a network may end in the middle of anything."""
    with _connect(proxy) as sock:
        _echoed(sock, bytes(1000))
        assert len(server.received) == 1
        proxy.tell(Faults(slice=1))
        _echoed(sock, bytes(1000))
    assert len(server.received) > 2


@pytest.mark.parametrize("open_before", [True, False])
def test_drop_and_reset_end_connections(proxy: FaultProxy, open_before: bool) -> None:
    for faults in (Faults(drop=True), Faults(reset=True)):
        proxy.tell()
        with _connect(proxy) as sock:
            assert _echoed(sock, b"hello") == b"hello"
            proxy.tell(faults)
            if faults.reset:
                with pytest.raises(ConnectionResetError):
                    _heard(proxy, sock if open_before else None)
            else:
                assert _heard(proxy, sock if open_before else None) == b""


def _heard(proxy: FaultProxy, sock: socket.socket | None) -> bytes:
    """What comes on `sock`, or on a new connection, which may be over before it is made."""
    if sock is not None:
        return sock.recv(1)
    with _connect(proxy) as made:
        return made.recv(1)


@pytest.mark.parametrize("open_before", [True, False])
def test_a_blackhole_takes_everything_and_says_nothing(
    proxy: FaultProxy, server: FaultServer, open_before: bool
) -> None:
    before = _connect(proxy)
    assert _echoed(before, b"hello") == b"hello"
    with proxy.told(Faults(blackhole=True)):
        sock = before if open_before else _connect(proxy)
        sock.sendall(b"anybody?")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    with pytest.raises(TimeoutError):  # and what was lost stays lost
        _echoed(sock, b"still there?")
    assert server.received == [b"hello"]
    with _connect(proxy) as again:
        assert _echoed(again, b"back") == b"back"
    sock.close()
    before.close()


def test_half_close_passes_the_request_and_ends_the_reply(proxy: FaultProxy, server: FaultServer) -> None:
    with proxy.told(Faults(half_close=True)), _connect(proxy) as sock:
        sock.sendall(b"do it")
        assert sock.recv(1) == b""
        sock.sendall(b"go on")  # its own side is open
        while b"".join(server.received) != b"do itgo on":
            time.sleep(0.01)


def test_the_reply_to_one_kind_of_request_is_cut(proxy: FaultProxy, server: FaultServer) -> None:
    """The server has done it, and nobody knows."""
    with proxy.told(Faults(cut_reply_to=b"EXEC")), _connect(proxy) as sock:
        assert _echoed(sock, b"GET") == b"GET"
        assert _echoed(sock, b"EXEC") == b""
    assert server.received == [b"GET", b"EXEC"]


def test_the_reply_to_one_kind_of_request_is_held_until_told(proxy: FaultProxy, server: FaultServer) -> None:
    proxy.tell(Faults(hold_reply_to=b"EXEC"))
    with _connect(proxy) as sock, _connect(proxy) as other:
        sock.sendall(b"EXEC")
        while server.received != [b"EXEC"]:
            time.sleep(0.01)
        assert _echoed(other, b"GET") == b"GET"
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        proxy.tell()
        sock.settimeout(5)
        assert sock.recv(4) == b"EXEC"


def test_a_server_that_is_killed_ends_the_clients_connection() -> None:
    """A reset with a request unread, as from a process that was killed: whoever waits for the reply hears of it."""

    def die(server: FaultServer, sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(die) as server, fault_proxy(server.port) as proxy, _connect(proxy) as sock:
        sock.sendall(b"hello")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
