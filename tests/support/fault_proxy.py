"""A TCP proxy between a client and its real server that does what networks do; told at run time. Q-3."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_PIECE = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, no time: closing sends RST instead of FIN


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to every connection, those that are open too. Nothing, unless said otherwise.

    `latency`: seconds that each piece waits, both ways. `bandwidth`: bytes a second, each way. `slice`: bytes of the
    pieces in which everything is passed on. `drop`: hangs up (FIN). `reset`: hangs up (RST). `blackhole`: takes
    everything, passes nothing on and says nothing. `half_close`: passes requests on, but ends its own side instead of
    bringing a reply. `cut_reply_to`: hangs up instead of bringing the reply to a request that holds these bytes.
    `hold_reply_to`: keeps the reply to such a request back until told otherwise.
    """

    latency: float = 0.0
    bandwidth: int = 0
    slice: int = 0
    drop: bool = False
    reset: bool = False
    blackhole: bool = False
    half_close: bool = False
    cut_reply_to: bytes = b""
    hold_reply_to: bytes = b""


class FaultProxy:
    """Listens on `port` of the loopback and passes on to `to` there. `accepted` counts connections, `passed` bytes."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.accepted = self.passed = 0
        self.faults = Faults()
        self.told_anew = asyncio.Event()
        self._open: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def tell(self, faults: Faults = Faults()) -> None:
        """From now on `faults`, or none. Returns when it is so."""
        asyncio.run_coroutine_threadsafe(self._tell(faults), self._loop).result(10)

    @contextmanager
    def told(self, faults: Faults) -> Iterator[None]:
        """`faults` for the length of a `with` block."""
        self.tell(faults)
        try:
            yield
        finally:
            self.tell()

    def stop(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    async def _tell(self, faults: Faults) -> None:
        self.faults = faults
        self.told_anew.set()
        self.told_anew = asyncio.Event()
        if faults.drop or faults.reset:
            for one in list(self._open):
                one.hang_up(reset=faults.reset)

    async def _stop(self) -> None:
        self._server.close()
        running = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(self, reader, writer)
        self._open.add(connection)
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # `stop`: nobody waits for it
        finally:
            self._open.discard(connection)
            connection.hang_up()


class _Connection:
    """One client and, unless it is in the blackhole, its server."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._server: asyncio.StreamWriter | None = None
        self._lost = False  # bytes went into the blackhole: what follows them would be nonsense
        self._cutting = self._holding = False

    async def run(self) -> None:
        faults = self._proxy.faults
        if faults.drop or faults.reset:
            self.hang_up(reset=faults.reset)
            return
        if faults.blackhole:
            while await self._reader.read(_PIECE):
                pass
            return
        with contextlib.suppress(OSError):
            from_server, self._server = await asyncio.open_connection("127.0.0.1", self._proxy.to)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(self._reader, self._server, request=True))
                group.create_task(self._pump(from_server, self._writer, request=False))

    def hang_up(self, *, reset: bool = False) -> None:
        for writer in (self._writer, self._server):
            if writer is None or writer.transport.is_closing():
                continue
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            else:
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, request: bool) -> None:
        """Until this side ends; then the other side hears that it has, and how."""
        try:
            while data := await reader.read(_PIECE):
                faults = self._proxy.faults
                self._lost |= faults.blackhole
                if self._lost:
                    continue
                if faults.cut_reply_to and not request and self._cutting:
                    self.hang_up()
                    return
                self._cutting = request and bool(faults.cut_reply_to) and faults.cut_reply_to in data
                while self._holding and not request and self._proxy.faults.hold_reply_to:
                    await self._proxy.told_anew.wait()
                self._holding = request and bool(faults.hold_reply_to) and faults.hold_reply_to in data
                if faults.half_close and not request:
                    continue
                await self._pass(data, writer, faults)
                if faults.half_close and request:
                    self._writer.write_eof()
            if not self._lost and writer.can_write_eof():
                writer.write_eof()
        except OSError:  # RST, as from a server that was killed with requests unread
            self.hang_up(reset=True)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, faults: Faults) -> None:
        if faults.latency:
            await asyncio.sleep(faults.latency)
        size = faults.slice or min(len(data), max(faults.bandwidth // 10, 1) if faults.bandwidth else len(data))
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self._proxy.passed += len(piece)
            writer.write(piece)
            await writer.drain()
            if faults.bandwidth:
                await asyncio.sleep(len(piece) / faults.bandwidth)
            elif faults.slice:
                await asyncio.sleep(0)  # a write of its own, so that the other side may read half of it


@contextmanager
def fault_proxy(to: int) -> Iterator[FaultProxy]:
    """For the `with` statement and for fixtures."""
    proxy = FaultProxy(to)
    try:
        yield proxy
    finally:
        proxy.stop()
