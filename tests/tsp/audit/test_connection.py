"""The trail's own connection to Redis: commands take turns, each gets its own reply or none. R-9, R-11."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis as Client
from redis.exceptions import RedisError

from tests.support.fault_proxy import Faults, fault_proxy
from tests.support.redis import Redis
from tsp.audit.connection import Direct
from tsp.audit.stream import connect


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    found = connect(redis_url)
    yield found
    await found.aclose()


async def test_many_who_ask_at_once_get_each_their_own_reply(client: Client) -> None:
    direct = Direct(client, 3.0)
    asked = [str(number) for number in range(200)]
    assert await asyncio.gather(*(direct.ask("ECHO", one) for one in asked)) == [one.encode() for one in asked]
    await direct.close()


async def test_the_reply_to_a_command_that_was_given_up_is_no_later_ones(redis_server: Redis, redis_url: str) -> None:
    with fault_proxy(redis_server.port) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}/0")
        direct = Direct(client, 0.5)
        assert await direct.ask("ECHO", "first") == b"first"
        with proxy.told(Faults(hold_reply_to=b"second")), pytest.raises(TimeoutError):
            await direct.ask("ECHO", "second")
        assert await direct.ask("ECHO", "third") == b"third"
        await direct.close()
        await client.aclose()


async def test_who_stops_waiting_leaves_no_reply_behind(client: Client) -> None:
    direct = Direct(client, 3.0)
    await direct.ask("PING")
    waiting = asyncio.ensure_future(direct.ask("BLPOP", "nothing", 1))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await direct.ask("ECHO", "next") == b"next"
    await direct.close()


async def test_a_connection_that_redis_closed_meanwhile_is_made_anew(client: Client) -> None:
    """No command is lost on it, so no batch goes to the spool for it."""
    direct = Direct(client, 3.0)
    name = await direct.ask("CLIENT ID")
    await client.client_kill_filter(_id=str(name))
    await asyncio.sleep(0.1)
    assert await direct.ask("ECHO", "again") == b"again"
    assert await direct.ask("CLIENT ID") != name
    await direct.close()


async def test_an_error_that_redis_answers_leaves_the_connection_open(client: Client) -> None:
    direct = Direct(client, 3.0)
    name = await direct.ask("CLIENT ID")
    with pytest.raises(RedisError, match="unknown command"):
        await direct.ask("NONSENSE")
    assert await direct.ask("CLIENT ID") == name
    await direct.close()


async def test_nobody_there_is_an_error_in_time(redis_server: Redis) -> None:
    """Connecting counts: a network that takes everything and says nothing is given up after the same time."""
    with fault_proxy(redis_server.port) as proxy:
        proxy.tell(Faults(blackhole=True))
        client = connect(f"redis://127.0.0.1:{proxy.port}/0")
        direct = Direct(client, 0.5)
        with pytest.raises((TimeoutError, RedisError)):
            await direct.ask("PING")
        proxy.tell()
        assert await direct.ask("PING") == b"PONG"
        await direct.close()
        await client.aclose()
