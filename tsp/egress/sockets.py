"""Sockets with a budget: every read and write counts against one deadline and one number of bytes."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from tsp.egress.addresses import EgressFailed


class _Budget:
    """What is left. Without a deadline the socket behaves as usual."""

    deadline: float | None = None
    left: int | None = None

    def limit(self, deadline: float | None, read_bytes: int | None) -> None:
        """From now on: EgressFailed past `deadline` (time.monotonic) or after `read_bytes` more bytes."""
        self.deadline, self.left = deadline, read_bytes

    def _remaining(self) -> float | None:
        if self.deadline is None:
            return None
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise EgressFailed("the time for this request is over")
        return remaining

    def _spend(self, count: int) -> None:
        if self.left is not None:
            self.left -= count
            if self.left < 0:
                raise EgressFailed("the reply is too large")

    def _hurry(self: Any) -> None:
        remaining = self._remaining()
        if remaining is not None:
            self.settimeout(remaining)

    def recv_into(self, *args: Any, **named: Any) -> int:
        self._hurry()
        count: int = super().recv_into(*args, **named)  # type: ignore[misc]
        self._spend(count)
        return count


class PlainSocket(_Budget, socket.socket):
    def sendall(self, *args: Any, **named: Any) -> None:
        self._hurry()
        super().sendall(*args, **named)


class TlsSocket(_Budget, ssl.SSLSocket):
    def send(self, *args: Any, **named: Any) -> int:  # SSLSocket.sendall calls it for each piece
        self._hurry()
        return super().send(*args, **named)


Socket = PlainSocket | TlsSocket


def dial(address: str, port: int, timeout: float) -> PlainSocket:
    """A TCP connection to exactly this address. OSError when it cannot be made in `timeout` seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = PlainSocket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock
