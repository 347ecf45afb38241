"""Load on a server of this machine: wrk when it is installed, else one epoll loop. Loopback only, bounded in time."""

from __future__ import annotations

import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 32


def tool() -> str:
    return "wrk" if shutil.which("wrk") else "the harness's own epoll loop"


def per_second(url: str, body: bytes, authorization: str, seconds: float) -> float:
    """Successful requests a second over 32 keep-alive connections. RuntimeError if any reply is not a 200."""
    parts = urlsplit(url)
    if parts.hostname != "127.0.0.1" or parts.port is None:
        raise ValueError("load goes to this machine only")
    if shutil.which("wrk"):
        return _wrk(url, body, authorization, seconds)
    return _own(parts.port, parts.path, body, authorization, seconds)


def _wrk(url: str, body: bytes, authorization: str, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(
            f"wrk.method = 'POST'\nwrk.body = [==[{body.decode()}]==]\n"
            f"wrk.headers['Authorization'] = '{authorization}'\nwrk.headers['Content-Type'] = 'application/json'\n"
        )
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise RuntimeError(f"the server did not answer as it should: {done.stdout[-500:]}")
    return float(found.group(1))


def _own(port: int, path: str, body: bytes, authorization: str, seconds: float) -> float:
    request = prepared(path, body, authorization)
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(CONNECTIONS):
        made = socket.create_connection(("127.0.0.1", port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[made.fileno()] = made
        poll.register(made.fileno(), select.EPOLLIN)
        made.sendall(request)
    count, start = 0, time.perf_counter()
    half = dict.fromkeys(sockets, b"")
    while (now := time.perf_counter()) - start < seconds:
        for number, _ in poll.poll(1.0):
            data = half[number] + sockets[number].recv(65_536)
            if not whole(data):
                half[number] = data
                continue
            half[number] = b""
            count += 1
            sockets[number].sendall(request)
    for made in sockets.values():
        made.close()
    poll.close()
    return count / (now - start)


def prepared(path: str, body: bytes, authorization: str) -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def whole(data: bytes) -> bool:
    """Whether `data` is a reply to its end. RuntimeError for one that is not a 200."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError("the server did not answer 200")
    size = re.search(rb"(?i)content-length: *(\d+)", head)
    return size is not None and len(rest) >= int(size.group(1))
