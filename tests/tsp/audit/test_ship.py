"""Events reach the tenants' receivers whatever these do; one tenant's trouble is not another's. R-16 to R-22."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from encrypted_fields.core.errors import UnknownTenant
from tests.support.people import NORTH, SOUTH, event
from tsp.audit.dead import DeadFiles
from tsp.audit.ship import LogSink, Shipper
from tsp.audit.spool import SpoolTrail
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.siem.base import Sink, SinkError


class Receiver(Sink):
    """Takes events unless `fault` raises for them; remembers every request."""

    batch = 1_000

    def __init__(self, fault: Callable[[Sequence[AuditEvent]], None] = lambda batch: None) -> None:
        self.fault, self.requests, self.taken = fault, [], []  # type: ignore[var-annotated]

    def send(self, events: Sequence[AuditEvent]) -> None:
        self.requests.append((time.monotonic(), len(events)))
        self.fault(events)
        self.taken += [one.id for one in events]


class Sinks:
    """Where each queue goes; `complete` as in Configs."""

    def __init__(self, **sinks: Sink | None) -> None:
        self.sinks: dict[str, Sink | None] = dict(sinks)
        self.complete = True

    def sink_for(self, queue: str) -> Sink | None:
        if queue not in self.sinks:
            raise UnknownTenant
        return self.sinks[queue]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolTrail]:
    trail = SpoolTrail(tmp_path)
    yield trail
    trail.close()


@pytest.fixture
def ship(spool: SpoolTrail) -> Iterator[Callable[..., Shipper]]:
    started: list[Shipper] = []

    def make(sinks: Sinks, **options: object) -> Shipper:
        started.append(Shipper(spool, sinks, **options))  # type: ignore[arg-type]
        return started[-1]

    yield make
    for shipper in started:
        shipper.close()


Make = Callable[..., Shipper]


async def _round(shipper: Shipper) -> None:
    await shipper.tick()
    await shipper.settle()


async def test_events_arrive_in_order_and_are_gone(spool: SpoolTrail, ship: Make) -> None:
    receiver = Receiver()
    receiver.batch = 10  # type: ignore[misc]
    made = [event() for _ in range(35)]
    await spool.record(made)

    await _round(ship(Sinks(north=receiver)))

    assert receiver.taken == [one.id for one in made]
    assert [count for _, count in receiver.requests] == [10, 10, 10, 5]
    assert spool.pending == 0


@pytest.mark.parametrize("poison", [0, 1, 499, 500, 511, 731, 998, 999])
async def test_one_poison_event_in_a_thousand_costs_at_most_21_requests(
    spool: SpoolTrail, ship: Make, tmp_path: Path, poison: int
) -> None:
    """R-19: 999 delivered, one dead letter with the reason."""
    made = [event() for _ in range(1_000)]
    bad = made[poison].id

    def reject(batch: Sequence[AuditEvent]) -> None:
        if bad in {one.id for one in batch}:
            raise SinkError("the receiver answered 400", permanent=True)

    receiver = Receiver(reject)
    await spool.record(made)

    await _round(ship(Sinks(north=receiver)))

    assert len(receiver.requests) <= 21
    assert receiver.taken == [one.id for one in made if one.id != bad]
    assert spool.pending == 0
    [letter] = DeadFiles(tmp_path / "dead").letters(NORTH)
    assert (letter.event.id, letter.reason) == (bad, "the receiver answered 400")


async def test_several_poison_events_are_all_found(spool: SpoolTrail, ship: Make, tmp_path: Path) -> None:
    made = [event() for _ in range(200)]
    bad = {made[at].id for at in (0, 3, 77, 78, 199)}

    def reject(batch: Sequence[AuditEvent]) -> None:
        if bad & {one.id for one in batch}:
            raise SinkError("no", permanent=True)

    receiver = Receiver(reject)
    await spool.record(made)
    await _round(ship(Sinks(north=receiver)))

    assert set(receiver.taken) == {one.id for one in made} - bad
    assert {letter.event.id for letter in DeadFiles(tmp_path / "dead").letters(NORTH)} == bad


async def test_a_receiver_that_only_minds_the_size_gets_everything(spool: SpoolTrail, ship: Make) -> None:
    """413 is a permanent answer to a batch, but no event is at fault: none may become a dead letter."""

    def too_large(batch: Sequence[AuditEvent]) -> None:
        if len(batch) > 30:
            raise SinkError("413", permanent=True)

    receiver = Receiver(too_large)
    made = [event() for _ in range(200)]
    await spool.record(made)
    await _round(ship(Sinks(north=receiver)))

    assert receiver.taken == [one.id for one in made]


async def test_dead_letters_come_back_on_request(spool: SpoolTrail, ship: Make, tmp_path: Path) -> None:
    def reject(batch: Sequence[AuditEvent]) -> None:
        raise SinkError("no", permanent=True)

    receiver = Receiver(reject)
    one = event()
    await spool.record([one])
    await _round(ship(Sinks(north=receiver)))
    assert spool.pending == 0

    receiver.fault = lambda batch: None
    assert DeadFiles(tmp_path / "dead").redrive(NORTH) == 1
    await _round(ship(Sinks(north=receiver)))

    assert receiver.taken == [one.id]
    assert DeadFiles(tmp_path / "dead").letters(NORTH) == []
    assert DeadFiles(tmp_path / "dead").returning() == []


async def test_a_receiver_that_is_down_gets_all_when_it_is_back(
    spool: SpoolTrail, ship: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: most / 100)
    down = True

    def fault(batch: Sequence[AuditEvent]) -> None:
        if down:
            raise SinkError("unreachable")

    receiver, made = Receiver(fault), [event() for _ in range(5)]
    shipper = ship(Sinks(north=receiver))
    await spool.record(made)
    await shipper.run(1.0)
    tries = len(receiver.requests)
    assert shipper.trouble == {NORTH: "unreachable"}
    assert 2 <= tries <= 6

    down = False
    while spool.pending:
        await shipper.run(0.1)

    assert receiver.taken == [one.id for one in made]
    assert shipper.trouble == {}


async def test_retry_after_is_obeyed(spool: SpoolTrail, ship: Make) -> None:
    """R-18: not one request too many."""

    def fault(batch: Sequence[AuditEvent]) -> None:
        if len(receiver.requests) == 1:
            raise SinkError("429", retry_after=1.2)

    receiver = Receiver(fault)
    await spool.record([event()])
    await ship(Sinks(north=receiver)).run(3.5)

    (first, _), (second, _) = receiver.requests
    assert second - first >= 1.2
    assert spool.pending == 0


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (SinkError("503", retry_after=86_400), 900, 900),
        (SinkError("401", refused=True, permanent=True), 300, 300),
        (SinkError("unreachable"), 0, 60),
    ],
)
async def test_how_long_a_queue_is_paused(
    spool: SpoolTrail, ship: Make, error: SinkError, least: float, most: float
) -> None:
    """R-18: Retry-After up to 15 minutes. R-20: who refuses is asked every 5, and nothing is lost."""

    def fault(batch: Sequence[AuditEvent]) -> None:
        raise error

    receiver = Receiver(fault)
    await spool.record([event()])
    shipper = ship(Sinks(north=receiver))
    for _ in range(5):
        await _round(shipper)

    wait = shipper._lines[NORTH].not_before - time.monotonic()
    assert least - 1 <= wait <= most
    assert len(receiver.requests) == 1 or not error.refused
    assert spool.pending == 1


async def test_a_new_configuration_ends_the_pause(spool: SpoolTrail, ship: Make) -> None:
    def fault(batch: Sequence[AuditEvent]) -> None:
        raise SinkError("401", refused=True)

    sinks = Sinks(north=Receiver(fault))
    await spool.record([event()])
    shipper = ship(sinks)
    await _round(shipper)
    sinks.sinks[NORTH] = better = Receiver()

    await _round(shipper)

    assert len(better.taken) == 1


async def test_a_slow_receiver_does_not_delay_the_others(spool: SpoolTrail, ship: Make) -> None:
    """R-17: one of 20 hangs; the others' events arrive as they come, and the slow one has one request in flight."""
    hang, flying, most = threading.Event(), 0, 0

    def slow(batch: Sequence[AuditEvent]) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        hang.wait(10)
        flying -= 1

    receivers = {f"t{at}": Receiver() for at in range(19)}
    sinks = Sinks(slow=Receiver(slow), **receivers)
    shipper = ship(sinks)
    running = asyncio.create_task(shipper.run(3.0))
    begun = time.monotonic()
    for _ in range(5):
        await spool.record([event(tenant=name) for name in sinks.sinks])
        await asyncio.sleep(0.05)
    while any(len(receiver.taken) < 5 for receiver in receivers.values()):
        assert time.monotonic() - begun < 3
        await asyncio.sleep(0.02)
    hang.set()
    await running

    assert most == 1


async def test_a_tenant_without_a_siem_is_written_to_the_log(spool: SpoolTrail, ship: Make) -> None:
    out = io.StringIO()
    one = event(custom={"note": "ü"})
    await spool.record([one])

    await _round(ship(Sinks(north=None), fallback=LogSink(out)))

    assert [events.load(line.encode()) for line in out.getvalue().splitlines()] == [one]
    assert spool.pending == 0


async def test_an_unknown_tenant_waits_until_the_configurations_are_complete(spool: SpoolTrail, ship: Make) -> None:
    sinks, out = Sinks(), io.StringIO()
    sinks.complete = False
    await spool.record([event()])
    shipper = ship(sinks, fallback=LogSink(out))
    await _round(shipper)
    assert (out.getvalue(), spool.pending) == ("", 1)

    sinks.complete = True
    await _round(shipper)
    assert spool.pending == 0


async def test_a_sink_with_a_bug_does_not_stop_the_others(spool: SpoolTrail, ship: Make) -> None:
    def bug(batch: Sequence[AuditEvent]) -> None:
        raise ZeroDivisionError

    good = Receiver()
    await spool.record([event(), event(tenant=SOUTH)])
    shipper = ship(Sinks(north=Receiver(bug), south=good))
    await _round(shipper)

    assert len(good.taken) == 1
    assert shipper.trouble == {NORTH: "ZeroDivisionError"}
    assert spool.pending == 1


async def test_an_event_that_the_trail_holds_twice_is_sent_once(spool: SpoolTrail, ship: Make) -> None:
    one, receiver = event(), Receiver()
    shipper = ship(Sinks(north=receiver))
    await spool.record([one])
    await _round(shipper)
    await spool.record([one])
    await _round(shipper)

    assert receiver.taken == [one.id]
    assert spool.pending == 0


async def test_only_its_own_queues_are_shipped(spool: SpoolTrail, ship: Make) -> None:
    receiver = Receiver()
    await spool.put([("north~5~1", event()), (NORTH, event())])
    sinks = Sinks(north=receiver)
    sinks.sinks["north~5~1"] = old = Receiver()

    await _round(ship(sinks, mine=lambda queue: "~" in queue))

    assert (len(receiver.taken), len(old.taken)) == (0, 1)
