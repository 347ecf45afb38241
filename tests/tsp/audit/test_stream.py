"""The stream on a real Redis that is killed, full, badly set up or forged: nothing lost or doubled. R-9 to R-12."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop
from redis import exceptions as redis_errors

from encrypted_fields.core.errors import AuditUnavailable
from tests.support.fault_proxy import Faults, fault_proxy
from tests.support.people import NORTH, SOUTH, VENDOR, event
from tests.support.processes import free_port
from tests.support.redis import DURABLE, Redis
from tsp.audit.spool import SpoolTrail
from tsp.audit.stream import StreamTrail, StreamUnsafe, connect
from tsp.audit.stream_source import StreamSource
from tsp.contract import events
from tsp.contract.events import AuditEvent


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolTrail]:
    trail = SpoolTrail(tmp_path / "spool")
    yield trail
    trail.close()


@pytest.fixture
def server() -> Iterator[Redis]:
    """A Redis of its own, to be killed."""
    found = Redis()
    yield found
    found.stop()


@pytest.fixture
async def source(redis_url: str) -> AsyncIterator[StreamSource]:
    redis = connect(redis_url)
    yield StreamSource(redis, VENDOR)
    await redis.aclose()


@pytest.fixture
async def trail(redis_url: str, spool: SpoolTrail) -> AsyncIterator[StreamTrail]:
    found = StreamTrail(connect(redis_url), VENDOR, spool)
    await found.start()
    yield found
    await found.close()


async def _all(source: StreamSource, queue: str = NORTH) -> list[str]:
    return [entry.event.id for entry in await source.read(queue, 1_000_000)]


async def test_events_come_out_as_they_went_in_by_tenant(trail: StreamTrail, source: StreamSource) -> None:
    first, second, other = event(custom={"a": "ü\n\r\0\u2028", "\n": "\n\n"}), event(), event(tenant=SOUTH)
    await trail.record([first, other])
    await trail.record([second])

    assert await source.queues() == [NORTH, SOUTH]
    assert [entry.event for entry in await source.read(NORTH, 10)] == [first, second]


async def test_what_is_acknowledged_is_gone_and_an_empty_queue_too(
    trail: StreamTrail, source: StreamSource, redis_url: str
) -> None:
    await trail.record([event(), event()])
    one, two = await source.read(NORTH, 2)

    await source.ack(NORTH, [one.key])
    assert await source.read(NORTH, 2) == [two]
    await source.ack(NORTH, [two.key])

    assert await source.queues() == []
    redis = connect(redis_url)
    assert await redis.exists(f"cmk:{VENDOR}:audit:{NORTH}") == 0
    await redis.aclose()


async def test_many_callers_share_a_transaction(trail: StreamTrail, source: StreamSource, redis_url: str) -> None:
    redis = connect(redis_url)
    await trail.record([event()])
    before = (await redis.info("commandstats"))["cmdstat_eval"]["calls"]

    await asyncio.gather(*(trail.record([event()]) for _ in range(500)))

    assert (await redis.info("commandstats"))["cmdstat_eval"]["calls"] - before < 20
    assert len(await _all(source)) == 501
    await redis.aclose()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--appendonly", "no"), ("--appendfsync", "everysec"), ("--maxmemory-policy", "allkeys-lru")],
)
async def test_refuses_to_start_on_a_redis_that_may_lose_events(option: str, value: str, spool: SpoolTrail) -> None:
    """R-10: the error names the setting and its right value."""
    options = list(DURABLE)
    options[options.index(option) + 1] = value
    server = Redis(*options)
    trail = StreamTrail(connect(server.url), VENDOR, spool)
    try:
        with pytest.raises(StreamUnsafe, match=option.removeprefix("--")):
            await trail.start()
    finally:
        await trail.close()
        server.stop()


async def test_starts_on_the_spool_when_redis_is_away(spool: SpoolTrail) -> None:
    trail = StreamTrail(connect(f"redis://127.0.0.1:{free_port()}/0"), VENDOR, spool)
    await trail.start()

    await trail.record([event()])
    await trail.probe()

    assert not trail.up
    assert spool.pending == 1
    await trail.close()


async def test_redis_down_and_back_loses_and_doubles_nothing(server: Redis, spool: SpoolTrail) -> None:
    """R-9: the spool takes over at once and is drained when Redis is back."""
    trail = StreamTrail(connect(server.url), VENDOR, spool)
    await trail.start()
    made = [event() for _ in range(30)]
    for at, one in enumerate(made):
        if at == 10:
            server.kill()
        await trail.record([one])
    assert not trail.up
    assert spool.pending >= 20

    server.start()
    await trail.probe()

    assert trail.up
    assert spool.pending == 0
    redis = connect(server.url)
    assert sorted(await _all(StreamSource(redis, VENDOR))) == sorted(one.id for one in made)
    await redis.aclose()
    await trail.close()


async def test_kill_9_of_redis_under_load_loses_and_doubles_nothing(server: Redis, spool: SpoolTrail) -> None:
    """R-10: killed again and again while events are recorded; each one that was acknowledged is there exactly once."""
    trail = StreamTrail(connect(server.url), VENDOR, spool)
    await trail.start()
    told: list[str] = []
    stop = False

    async def work(name: str) -> None:
        while not stop:
            one = event(tenant=name)
            await trail.record([one])
            told.append(one.id)
            await asyncio.sleep(0)

    async def probe() -> None:
        while not stop:
            await trail.probe()
            await asyncio.sleep(0.05)

    work_ = [asyncio.create_task(work(f"t{at % 3}")) for at in range(12)]
    probing = asyncio.create_task(probe())
    for _ in range(6):
        await asyncio.sleep(0.25)
        server.kill()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
    await asyncio.sleep(0.25)
    stop = True
    await asyncio.gather(*work_, probing)
    while not trail.up or spool.pending:
        await trail.probe()

    redis = connect(server.url)
    source = StreamSource(redis, VENDOR)
    found = [key for queue in ("t0", "t1", "t2") for key in await _all(source, queue)]
    assert len(told) > 200
    assert sorted(found) == sorted(told)
    await redis.aclose()
    await trail.close()


async def test_a_batch_that_arrived_although_the_connection_broke_is_not_sent_again(
    server: Redis, spool: SpoolTrail
) -> None:
    """The reply is lost after Redis has taken the transaction."""
    with fault_proxy(server.port) as proxy:
        trail = StreamTrail(connect(f"redis://127.0.0.1:{proxy.port}/0"), VENDOR, spool)
        await trail.start()
        with proxy.told(Faults(cut_reply_to=b"EVAL")):
            one = event()
            await trail.record([one])
        assert spool.pending == 1

        await trail.probe()

        redis = connect(server.url)
        assert await _all(StreamSource(redis, VENDOR)) == [one.id]
        assert spool.pending == 0
        await redis.aclose()
        await trail.close()


async def test_a_batch_that_arrived_while_the_spool_is_drained_is_not_sent_again(
    server: Redis, spool: SpoolTrail
) -> None:
    """What the spool holds goes to Redis; between two of its queues the reply to somebody's batch is lost."""
    with fault_proxy(server.port) as proxy:
        trail = StreamTrail(connect(f"redis://127.0.0.1:{proxy.port}/0"), VENDOR, spool)
        await trail.start()
        first, second, one = event(tenant="t1"), event(tenant="t2"), event(tenant="t3")
        await spool.record([first])
        await spool.record([second])
        with proxy.told(Faults(cut_reply_to=one.id.encode())):
            await asyncio.gather(trail.probe(), trail.record([one]))
        await trail.probe()

        redis = connect(server.url)
        source = StreamSource(redis, VENDOR)
        assert [await _all(source, queue) for queue in ("t1", "t2", "t3")] == [[first.id], [second.id], [one.id]]
        assert spool.pending == 0
        await redis.aclose()
        await trail.close()


async def test_a_batch_that_arrives_late_is_refused(server: Redis, spool: SpoolTrail) -> None:
    """It was given up for lost and sent again; then the network brings it after all."""
    with fault_proxy(server.port) as proxy:
        trail = StreamTrail(connect(f"redis://127.0.0.1:{proxy.port}/0"), VENDOR, spool)
        await trail.start()
        one = event()
        with proxy.told(Faults(latency=3.5)):  # the client waits for 3 seconds
            await trail.record([one])
        await trail.probe()
        assert spool.pending == 0
        passed = proxy.passed
        await asyncio.sleep(1)
        assert proxy.passed - passed > len(one.id)

        redis = connect(server.url)
        assert await _all(StreamSource(redis, VENDOR)) == [one.id]
        await redis.aclose()
        await trail.close()


def test_a_transport_that_uvloop_has_closed_is_a_broken_connection(redis_server: Redis) -> None:
    """R-9: uvloop raises RuntimeError there, which once ended a proxy and left requests waiting for ever."""

    async def broken() -> None:
        with fault_proxy(redis_server.port) as proxy:
            redis = connect(f"redis://127.0.0.1:{proxy.port}/0")
            connection = redis.connection_pool.make_connection()
            await connection.connect()
            proxy.tell(Faults(reset=True))
            await asyncio.sleep(0.2)
            with pytest.raises(redis_errors.ConnectionError):
                await connection.send_command("PING", check_health=False)
            proxy.tell()
            await connection.send_command("PING")
            assert await connection.read_response() == b"PONG"
            await connection.disconnect()
            await redis.aclose()

    uvloop.run(broken())


async def test_an_unforeseen_failure_answers_who_waits(
    trail: StreamTrail, source: StreamSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key leaves, and nobody waits for ever."""

    async def fail(_: object) -> None:
        raise ArithmeticError("never seen before")

    with monkeypatch.context() as patch:
        patch.setattr(trail, "_send", fail)
        with pytest.raises(AuditUnavailable):
            await trail.record([event()])
        assert trail._flushing is not None
        with pytest.raises(ArithmeticError):
            await trail._flushing
    one = event()
    await trail.record([one])
    assert await _all(source) == [one.id]


async def test_a_redis_out_of_memory_sends_events_to_the_spool(spool: SpoolTrail) -> None:
    """R-12: never a silent drop."""
    server = Redis(*DURABLE, "--maxmemory", "3mb")
    trail = StreamTrail(connect(server.url), VENDOR, spool)
    await trail.start()
    made: list[AuditEvent] = []
    while trail.up and len(made) < 5_000:
        made.append(event(data_label="x" * 4_000))
        await trail.record(made[-1:])

    assert spool.pending >= 1
    redis = connect(server.url)
    await redis.config_set("maxmemory", "100mb")
    await trail.probe()
    assert sorted(await _all(StreamSource(redis, VENDOR))) == sorted(one.id for one in made)
    await redis.aclose()
    await trail.close()
    server.stop()


async def test_a_farewell_stays_in_the_local_spool(trail: StreamTrail, source: StreamSource, spool: SpoolTrail) -> None:
    await trail.put([(f"{NORTH}~5~1", event(action=events.SIEM_CHANGED)), (NORTH, event())])
    await trail.probe()

    assert await source.queues() == [NORTH]
    assert await spool.queues() == [f"{NORTH}~5~1"]


async def test_forged_entries_are_thrown_away_and_hold_nothing_up(
    trail: StreamTrail, source: StreamSource, redis_url: str
) -> None:
    """T-9: who can write to Redis can write anything; only events of that tenant come out."""
    redis = connect(redis_url)
    stream = f"cmk:{VENDOR}:audit:{NORTH}"
    for raw in (b"", b"{", b"[" * 5_000, b"\x80\x04pickle", events.dump(event(tenant=SOUTH))):
        await redis.xadd(stream, {"e": raw})
    await redis.xadd(stream, {"other": "x"})
    true = event()
    await trail.record([true])

    assert await _all(source) == [true.id]
    assert await redis.xlen(stream) == 1
    await redis.aclose()


async def test_dead_letters_keep_their_reason_and_come_back(trail: StreamTrail, source: StreamSource) -> None:
    one = event()
    await trail.record([one])
    [entry] = await source.read(NORTH, 1)
    await source.bury(NORTH, entry, "the receiver answered 400")

    assert await source.read(NORTH, 1) == []
    assert await source.dead_queues() == [NORTH]
    assert [(letter.event, letter.reason) for letter in await source.letters(NORTH)] == [
        (one, "the receiver answered 400")
    ]
    assert await source.redrive(NORTH) == 1
    assert await _all(source) == [one.id]
    assert await source.letters(NORTH) == []
