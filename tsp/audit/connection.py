"""Connections to Redis under uvloop: a transport that was closed meanwhile is a broken connection, as on any loop."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError


class _Told:
    """Before the class of a connection: what uvloop says about a closed transport becomes redis-py's own error.

    uvloop raises RuntimeError for a write to it, which nobody who handles a Redis that is away would expect.
    """

    async def send_packed_command(self: Any, *args: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*args, **options)  # type: ignore[misc]
        except RuntimeError as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"the connection was closed: {error}") from None


def pool(url: str, **options: Any) -> ConnectionPool:
    """A pool of such connections, of the kind that `url` asks for (TCP, TLS or a Unix socket)."""
    made: ConnectionPool = ConnectionPool.from_url(url, **options)
    kind = made.connection_class
    made.connection_class = type(kind.__name__, (_Told, kind), {})
    return made


class Direct:
    """One connection of `redis`, without the pool, the retries and the timer for each step that a client has.

    They take longer than the command itself, which here is one for each batch of events. Commands take turns.
    """

    def __init__(self, redis: Redis, seconds: float) -> None:
        """`seconds` bound a command, with the connecting if there is any."""
        self._connection: Any = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._connection.socket_timeout = None
        self._seconds = seconds
        self._turn = asyncio.Lock()

    async def ask(self, *command: str | bytes | int) -> Any:
        """The reply. RedisError or OSError (TimeoutError is one): then nobody knows whether the command was carried
        out, and the next one goes over a new connection."""
        connection = self._connection
        async with self._turn, asyncio.timeout(self._seconds):
            if await self._broken():
                await connection.disconnect()
                await connection.connect()
            await connection.send_packed_command(connection.pack_command(*command), check_health=False)
            return await connection.read_response()

    async def _broken(self) -> bool:
        """Whether it is not open: not yet, or closed by Redis since the last command."""
        try:
            return not self._connection.is_connected or await self._connection.can_read()
        except (RedisError, OSError):
            return True

    async def close(self) -> None:
        await self._connection.disconnect()
