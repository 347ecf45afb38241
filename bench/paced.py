"""Requests at a steady rate, whatever the server does: timed from when each was due, not from when it was sent."""

from __future__ import annotations

import os
import select
import socket
import statistics
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import CONNECTIONS, prepared, whole

_TICK = 0.001  # seconds; what is due within one goes out together


def disk(path: Path, rate: float, seconds: float, *, reserved: bool) -> list[float]:
    """The same for what a proxy waits for: 4 KiB durably at the end of a file, which grows unless it is reserved."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DSYNC, 0o600)
    count, taken = int(rate * seconds), list[float]()
    if reserved:
        os.posix_fallocate(file, 0, count * 4096)
    for number in range(count):
        began = time.perf_counter()
        os.pwrite(file, bytes(4096), number * 4096)
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(1 / rate)
    os.close(file)
    return _percentiles(taken)


def milliseconds(url: str, body: bytes, authorization: str, rate: float, seconds: float) -> list[float]:
    """The 50th, 99th and 99.9th percentile. RuntimeError if any reply is not a 200."""
    parts = urlsplit(url)
    request, poll = prepared(parts.path, body, authorization), select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(CONNECTIONS):
        made = socket.create_connection((str(parts.hostname), int(parts.port or 0)))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[made.fileno()] = made
        poll.register(made.fileno(), select.EPOLLIN)
    free, due, taken = deque(sockets), {}, []  # type: deque[int], dict[int, float], list[float]
    half: dict[int, bytes] = {}
    start, sent, total = time.perf_counter(), 0, int(rate * seconds)
    while len(taken) < total:
        now = time.perf_counter()
        while free and sent < total and (at := start + sent / rate) <= now:
            number = free.popleft()
            due[number] = at
            sockets[number].sendall(request)
            sent += 1
        for number, _ in poll.poll(_TICK):
            data = half.pop(number, b"") + sockets[number].recv(65_536)
            if not whole(data):
                half[number] = data
                continue
            taken.append((time.perf_counter() - due.pop(number)) * 1000)
            free.append(number)
    for made in sockets.values():
        made.close()
    poll.close()
    return _percentiles(taken)


def _percentiles(taken: list[float]) -> list[float]:
    cuts = statistics.quantiles(taken, n=1000)
    return [cuts[499], cuts[989], cuts[998]]
