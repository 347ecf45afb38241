"""A fleet on a real Redis: one agreed key, workers that renew for all, and notices that nobody believes unseen."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from encrypted_fields.core.errors import KmsRefused, KmsUnreachable
from tests.support.fault_proxy import FaultProxy, Faults, fault_proxy
from tests.tsp.doubles import VENDOR, ManualClock, MemoryTrail, World, call, request, world
from tsp.contract import events
from tsp.contract.tenant import Leasing
from tsp.gate import KmsGate
from tsp.leases import proofs
from tsp.leases.board import Board, RedisAgreement
from tsp.leases.fleet import Renewed, renew_fleet
from tsp.leases.journal import Journal
from tsp.leases.lease import Lease


class TimedRedis(Redis):
    """A real one, on a machine whose time a test moves with that of the proxies."""

    clock: ManualClock

    async def time(self, **_: Any) -> tuple[int, int]:
        return int(self.clock.wall()), int(self.clock.wall() % 1 * 1_000_000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def redis(redis_url: str, clock: ManualClock) -> AsyncIterator[Redis]:
    client = TimedRedis.from_url(redis_url, socket_timeout=2.0)
    client.clock = clock
    yield client
    await client.aclose()


@pytest.fixture
async def two(redis: Redis, clock: ManualClock, tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """Two proxies of one fleet, with the same tenants and one clock."""
    first = _proxy(redis, tmp_path / "one", clock)
    second = _proxy(redis, tmp_path / "two", clock, first)
    yield first, second
    for made in (first, second):
        await made.plane.renewal.settled()
        await made.plane.leases.journal.drained()
        made.plane.close()


def _proxy(redis: Redis, folder: Path, clock: ManualClock, other: World | None = None) -> World:
    return world(
        folder,
        leasing=Leasing(enabled=True),
        agreement=RedisAgreement(redis),
        notices=Board(redis, VENDOR),
        tenants=other.tenants if other else None,
        clock=clock,
    )


async def wrap(made: World) -> Any:
    return await call(made.plane.app, "document/wrap", request())


async def tick(*proxies: World) -> None:
    for made in proxies:
        await made.plane.renewal.tick()
        await made.plane.renewal.settled()
        await made.plane.leases.journal.drained()


async def work(redis: Redis, made: World) -> tuple[Renewed, MemoryTrail]:
    trail, gate = MemoryTrail(), KmsGate()
    journal = Journal(trail, VENDOR, "worker")
    done = await renew_fleet(redis, VENDOR, made.tenants, gate, journal, made.clock)
    await journal.drained()
    gate.close()
    return done, trail


def only(made: World) -> Lease:
    [(_, lease)] = made.plane.leases.all()
    return lease


async def test_a_race_makes_exactly_one_leased_key(redis: Redis, tmp_path: Path) -> None:
    """R-27: each of many proxies makes its own, one is agreed, all others are wiped; every EDEK opens everywhere."""
    clock = ManualClock()
    fleet = [_proxy(redis, tmp_path / "0", clock)]
    fleet += [_proxy(redis, tmp_path / str(number), clock, fleet[0]) for number in range(1, 20)]
    answers = await asyncio.gather(*(wrap(made) for made in fleet))
    assert len({only(made).digest for made in fleet}) == 1
    for answer in answers:
        opened = await call(fleet[-1].plane.app, "document/unwrap", request(encryptedDocumentKey=answer.json()["edek"]))
        assert opened.json() == {"dek": answer.json()["dek"]}
    for made in fleet:
        made.plane.close()


async def test_a_worker_renews_for_all_with_one_call(redis: Redis, two: tuple[World, World]) -> None:
    """House decision 5: the proxies take its proof and leave the key service alone."""
    for made in two:
        await wrap(made)
    await tick(*two)
    kms = two[0].kms().adapter
    two[0].clock.advance(255)
    for made in two:
        await wrap(made)
        made.plane.renewal._board._announced = float("-inf")  # type: ignore[union-attr]  the minute is over
    await tick(*two)
    kms.calls.clear()
    done, trail = await work(redis, two[0])
    assert (done.proved, kms.calls) == (1, ["unwrap"])
    assert [event.tsp for event in trail.of(events.LEASE_RENEWED)] == ["worker"]
    began = two[0].clock.boot()
    two[0].clock.advance(76)
    for made in two:
        await wrap(made)
    await tick(*two)
    assert kms.calls == ["unwrap"]
    for made in two:
        assert only(made).proof.boot == pytest.approx(began, abs=0.01)
    assert (await work(redis, two[0]))[0].fresh == 1


async def test_a_proxy_renews_for_itself_when_nobody_has(two: tuple[World, World]) -> None:
    """Thirty seconds after the due time."""
    made = two[0]
    await wrap(made)
    kms = made.kms().adapter
    kms.calls.clear()
    made.clock.advance(only(made).due - made.clock.boot() + 1)
    await wrap(made)
    for _ in range(28):
        await tick(made)
        made.clock.advance(1)
    assert kms.calls == []
    made.clock.advance(3)
    await tick(made)
    assert kms.calls == ["unwrap"]


@pytest.mark.parametrize("kind", ["random", "other key", "other tenant", "empty", "future", "replayed"])
async def test_a_forged_proof_has_no_effect(redis: Redis, two: tuple[World, World], kind: str) -> None:
    """T-9: who can write to Redis cannot make a key live a second longer."""
    made = two[0]
    await wrap(made)
    lease = only(made)
    wall = made.clock.wall()
    made.clock.advance(331)
    await wrap(made)
    lek = bytes(lease.lek.view())
    forged = {
        "random": os.urandom(proofs.SIZE),
        "other key": proofs.make(os.urandom(32), "a", 11, lease.digest, made.clock.wall()),
        "other tenant": proofs.make(lek, "b", 11, lease.digest, made.clock.wall()),
        "empty": b"",
        "future": proofs.make(lek, "a", 11, lease.digest, made.clock.wall() + 3000),
        "replayed": proofs.make(lek, "a", 11, lease.digest, wall - 10),
    }[kind]
    await Board(redis, VENDOR).proved(("a", 11), lease.digest, forged)
    before = lease.proof
    made.kms().adapter.failure = KmsRefused()
    await tick(made)
    assert lease.proof == before
    made.clock.advance(31)
    await tick(made)
    assert lease.lek.wiped


async def test_redis_tells_its_time(redis_url: str) -> None:
    """R-26: what a worker and a proxy hold their own clocks against."""
    client = Redis.from_url(redis_url)
    before, found, after = time.time(), await Board(client, VENDOR).clock(), time.time()
    await client.aclose()
    assert before - 0.01 <= found <= after + 0.01


async def test_a_proof_from_the_future_is_not_kept_for_later(redis: Redis, two: tuple[World, World]) -> None:
    """A clock that runs ahead, or a proof that was held back: never taken, also not when its time has come."""
    made = two[0]
    await wrap(made)
    lease = only(made)
    made.clock.advance(300)
    await wrap(made)
    made.clock.advance(max(lease.due - made.clock.boot(), 0))
    proof = proofs.make(lease.lek.view(), "a", 11, lease.digest, made.clock.wall() + 5)
    await Board(redis, VENDOR).proved(("a", 11), lease.digest, proof)
    made.kms().adapter.calls.clear()
    await tick(made)
    made.clock.advance(5)
    await tick(made)
    assert lease.skewed
    assert made.kms().adapter.calls == ["unwrap"]


async def test_a_refusal_reaches_the_fleet_and_each_looks_for_itself(two: tuple[World, World]) -> None:
    """R-5: fleet-wide within seconds."""
    first, second = two
    for made in two:
        await wrap(made)
    held = only(second)
    first.kms().adapter.failure = KmsRefused()
    first.clock.advance(340)
    for made in two:
        await wrap(made)
    only(first).failures = 1  # it no longer waits for a worker
    await tick(first)
    assert list(first.plane.leases.all()) == []
    second.kms().adapter.calls.clear()
    await tick(second)
    await tick(second)
    assert second.kms().adapter.calls
    assert held.lek.wiped


async def test_a_forged_refusal_takes_nothing_away(redis: Redis, two: tuple[World, World]) -> None:
    """T-9: it costs one look, and a flood of them costs one look in two seconds."""
    made = two[0]
    await wrap(made)
    kms = made.kms().adapter
    kms.calls.clear()
    for _ in range(20):
        await Board(redis, VENDOR).refused(("a", 11))
        await tick(made)
    assert kms.calls == ["unwrap"]
    assert not only(made).lek.wiped
    assert (await wrap(made)).status == 200


async def test_a_worker_tells_the_fleet_of_a_refusal(redis: Redis, two: tuple[World, World]) -> None:
    made = two[1]
    await wrap(made)
    await tick(made)
    lease = only(made)
    made.kms().adapter.failure = KmsRefused()
    done, trail = await work(redis, made)
    assert done.refused == 1
    assert [event.outcome for event in trail.of(events.LEASE_REFUSED)] == ["refused"]
    await tick(made)
    assert lease.lek.wiped


async def test_nonsense_in_redis_stops_neither_proxies_nor_workers(redis: Redis, two: tuple[World, World]) -> None:
    """T-9: names that are none, numbers that are none, tenants that are unknown."""
    made = two[0]
    await wrap(made)
    await tick(made)
    name = f"cmk:lease:{VENDOR}"
    for member in ("x", "a:b:c", "nobody:11:ff", ":::", "a:99999999999999999999:00", "é:1:2", "a:11:zz"):
        await redis.zadd(f"{name}:used", {member: made.clock.wall()})
        await redis.set(f"{name}:elek:{member}", os.urandom(100))
        await redis.zadd(f"{name}:refused", {member: 9e12})
    done, _ = await work(redis, made)
    assert (done.proved, done.refused) == (1, 0)
    await tick(made)
    assert (await wrap(made)).status == 200


async def test_redis_holds_no_key(redis: Redis, two: tuple[World, World]) -> None:
    """T-8: the LEK is in no value, in no form."""
    made = two[0]
    answer = (await wrap(made)).json()
    await tick(made)
    await work(redis, made)
    lek = bytes(only(made).lek.view())
    names = [name async for name in redis.scan_iter("*")]
    assert len(names) >= 4
    for name in names:
        dump = await redis.dump(name) or b""
        for secret in (lek, lek.hex().encode(), answer["dek"].encode()):
            assert secret not in dump
            assert secret not in name


@pytest.fixture
async def parted(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[FaultProxy, Redis, World, World]]:
    """The network to Redis, and two proxies that each agreed on a leased key with itself while it was broken."""
    clock = ManualClock()
    with fault_proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as network:
        client = Redis.from_url(redis_url.replace(str(network.to), str(network.port)), socket_timeout=2.0)
        first = _proxy(client, tmp_path / "one", clock)
        second = _proxy(client, tmp_path / "two", clock, first)
        with network.told(Faults(reset=True)):
            for made in (first, second):
                await wrap(made)
        yield network, client, first, second
        for made in (first, second):
            await made.plane.renewal.settled()
            await made.plane.leases.journal.drained()
            made.plane.close()
        await client.aclose()


def active(made: World) -> Lease:
    [state] = made.plane.leases.states.values()
    assert state.active is not None
    return state.active


async def rounds(*proxies: World) -> None:
    """A minute of them; each proxy alone, one after the other, so that both have looked."""
    for made in proxies * 4:
        made.clock.advance(15)
        await tick(made)


async def test_who_agreed_alone_is_back_with_the_fleet_when_redis_answers(
    parted: tuple[FaultProxy, Redis, World, World],
) -> None:
    """House decision 3, R-27: one active key again, by itself; what was wrapped meanwhile opens on both."""
    _, _, *two = parted
    answers = [await wrap(made) for made in two]
    assert len({active(made).digest for made in two}) == 2
    await rounds(*two)
    assert len({active(made).digest for made in two}) == 1
    for made in two:
        for answer in answers:
            body = request(encryptedDocumentKey=answer.json()["edek"])
            opened = await call(made.plane.app, "document/unwrap", body)
            assert opened.json() == {"dek": answer.json()["dek"]}


async def test_as_long_as_redis_is_silent_each_keeps_its_own(parted: tuple[FaultProxy, Redis, World, World]) -> None:
    """R-9: nobody waits, no key is made again and again."""
    network, _, *two = parted
    before = [active(made) for made in two]
    with network.told(Faults(reset=True)):
        await rounds(*two)
    assert [active(made) for made in two] == before


async def test_a_forged_agreement_does_not_part_a_fleet_that_comes_together(
    parted: tuple[FaultProxy, Redis, World, World],
) -> None:
    """T-9: what this key service did not make is replaced by what it did."""
    _, client, *two = parted
    [slot] = (one.alone for one in two[0].plane.leases.states.values())
    await client.set(f"cmk:elek:{slot}", os.urandom(100))
    await rounds(*two)
    assert len({active(made).digest for made in two}) == 1
    assert await client.get(f"cmk:elek:{slot}") == active(two[0]).elek


async def test_a_key_service_that_is_away_keeps_nobody_from_wrapping(
    parted: tuple[FaultProxy, Redis, World, World],
) -> None:
    """R-2: the fleet's key cannot be proved now, so the proxy's own goes on until it can."""
    _, _, *two = parted
    await rounds(two[0])
    own, kms = active(two[1]), two[1].kms().adapter
    kms.failure = KmsUnreachable()
    await rounds(two[1])
    assert active(two[1]) is own
    assert (await wrap(two[1])).status == 200
    kms.failure = None
    await rounds(two[1])
    assert active(two[1]).digest == active(two[0]).digest


async def test_without_redis_keys_are_served_and_renewed(redis_url: str, tmp_path: Path) -> None:
    """R-9: a proxy whose Redis is gone agrees with itself and renews for itself."""
    gone = Redis.from_url("redis://127.0.0.1:1/0", socket_timeout=0.2, socket_connect_timeout=0.2)
    made = _proxy(gone, tmp_path, ManualClock())
    first, second = (await wrap(made)).json(), (await wrap(made)).json()
    assert first["edek"] != second["edek"]
    assert len(list(made.plane.leases.all())) == 1
    made.kms().adapter.calls.clear()
    made.clock.advance(331)
    await wrap(made)
    for _ in range(3):
        await tick(made)
        made.clock.advance(16)
    assert made.kms().adapter.calls == ["unwrap"]
    made.plane.close()
    await gone.aclose()
