"""Connections to Redis under uvloop: a transport that was closed meanwhile is a broken connection, as on any loop."""

from __future__ import annotations

from typing import Any

from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError


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
