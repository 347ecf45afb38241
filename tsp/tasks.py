"""The workers' tasks: ship, renew, refresh. They take no arguments, so a forged message can ask for no more (T-9)."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.signals import worker_ready

from tsp.worker import this_worker


@shared_task(name="cmk.ship")
def ship() -> bool:
    """Ship for some seconds, then put the next turn into the queue: a chain that needs no beat (R-24)."""
    worker = this_worker()
    worker.run(worker.begin_turn())
    shipped = worker.run(worker.ship())
    if shipped and worker.run(worker.take_turn()):
        ship.apply_async()
    return shipped


@shared_task(name="cmk.refresh")
def refresh() -> None:
    """Fetch the newest configurations."""
    worker = this_worker()
    worker.run(worker.refresh())


@worker_ready.connect
def _begin(sender: Any = None, **_: Any) -> None:
    """A worker that starts begins a chain at once; beat is only a second way to start one."""
    ship.apply_async()
