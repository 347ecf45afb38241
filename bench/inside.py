"""Load made inside the server's own process, at its HTTP parser: what one core does when nobody shares it.

32 connections without sockets; each sends its next request when it has its reply. `python -m bench.inside KIND SECONDS
CORE` keeps to that core, waits for a line on standard input, so that several processes start together, and prints
requests a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bench import cores
from bench.echo import Echo
from bench.load import CONNECTIONS, prepared, whole
from bench.serving import plane_on
from tests.support.sandbox import API_KEY
from tsp import edek, listen
from tsp.audit.spool import SpoolTrail

KINDS = ("echo", "wrap", "unwrap", "batch-wrap", "batch-unwrap")
BATCH = 100
ICL = {"requestingId": "bench", "dataLabel": "PII", "objectId": "clinic.Patient/17", "requestId": "req-9"}


def body(**more: object) -> bytes:
    return json.dumps({"tenantId": "a", "iclFields": ICL, "customFields": {}, **more}).encode()


class _Transport(asyncio.Transport):
    """Gives the protocol `request` again and again, each time that it has written a whole reply."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answered: Any) -> None:
        super().__init__()
        self._loop, self._answered, self._written = loop, answered, b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written += data
        if whole(self._written):
            reply, self._written = self._written, b""
            self._loop.call_soon(self._answered, reply.partition(b"\r\n\r\n")[2])

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """There is nothing behind it."""

    def pause_reading(self) -> None:
        """It reads when it has written."""

    def resume_reading(self) -> None:
        """The same."""


class Inside:
    """`app` under the server's own protocol, in this loop."""

    def __init__(self, app: Any) -> None:
        self._config = uvicorn.Config(app, **listen.SERVER)
        self._config.load()
        self._state = ServerState()

    async def one(self, route: str, sent: bytes) -> bytes:
        """The body of the reply to one request."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._connection(answer.set_result).data_received(prepared(f"/api/1/document/{route}", sent, f"cmk {API_KEY}"))
        return await answer

    async def per_second(self, route: str, sent: bytes, seconds: float) -> tuple[float, float]:
        """Requests a second by the clock, and a second of processor."""
        request, ended = prepared(f"/api/1/document/{route}", sent, f"cmk {API_KEY}"), asyncio.Event()
        count, until = 0, time.perf_counter() + seconds
        running = CONNECTIONS

        def start() -> None:
            def again(_: bytes) -> None:
                nonlocal count, running
                count += 1
                if time.perf_counter() < until:
                    protocol.data_received(request)
                else:
                    running -= 1
                    if not running:
                        ended.set()

            protocol = self._connection(again)
            protocol.data_received(request)

        began, used = time.perf_counter(), time.process_time()
        for _ in range(CONNECTIONS):
            start()
        await ended.wait()
        return count / (time.perf_counter() - began), count / (time.process_time() - used)

    def _connection(self, answered: Any) -> HttpToolsProtocol:
        protocol = HttpToolsProtocol(self._config, self._state, {})
        protocol.connection_made(_Transport(asyncio.get_running_loop(), answered))
        return protocol


def primitives(seconds: float) -> float:
    """Keys in a second of processor: HKDF and AES-GCM of one leased wrap alone, which no proxy can do without."""
    lek, info, dek = bytes(32), edek.lease_info("vendor", "a", 1, bytes(32)), os.urandom(32)
    count, began = 0, time.process_time()
    while (used := time.process_time() - began) < seconds:
        edek.seal_many(lek, info, [dek] * BATCH)
        count += BATCH
    return count / used


async def _measure(kind: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trail = SpoolTrail(Path(folder) / "audit", max_events=2**40, max_bytes=2**50)
        plane = plane_on(trail, Path(folder))
        proxy = Inside(plane.app)
        wrapped = await proxy.one("wrap", body())
        bodies = {"wrap": body(), "unwrap": body(encryptedDocumentKey=json.loads(wrapped)["edek"])}
        bodies["batch-wrap"] = body(documentIds=[str(number) for number in range(BATCH)])
        many = json.loads(await proxy.one("batch-wrap", bodies["batch-wrap"]))["keys"]
        bodies["batch-unwrap"] = body(edeks={name: one["edek"] for name, one in many.items()})
        bodies["echo"] = bodies["wrap"]
        measured = Inside(Echo(len(wrapped))) if kind == "echo" else proxy
        listen.settle()
        print("ready", flush=True)
        sys.stdin.readline()
        clock, processor = await measured.per_second(kind, bodies[kind], seconds)
        print(json.dumps([clock, processor]), flush=True)
        trail.close()
        plane.close()


if __name__ == "__main__":
    cores.keep(0, int(sys.argv[3]))
    listen.run(lambda: _measure(sys.argv[1], float(sys.argv[2])))
