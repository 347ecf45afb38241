"""The workers' tasks: ship, renew, refresh. They take no arguments, so a forged message can ask for no more (T-9)."""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps, shared_task
from celery.worker.consumer.tasks import Tasks
from kombu.exceptions import OperationalError

from tsp.worker import this_worker

_TURN_SECONDS = 4.0
_log = logging.getLogger("tsp.worker")


@shared_task(name="cmk.ship")
def ship() -> bool:
    """Ship for some seconds; False if another worker does."""
    worker = this_worker()
    return worker.run(worker.ship())


@shared_task(name="cmk.renew")
def renew() -> int:
    """Renew the leases of all proxies: one key service call for each leased key that is in use."""
    worker = this_worker()
    return worker.run(worker.renew())


@shared_task(name="cmk.refresh")
def refresh() -> None:
    """Fetch the newest configurations."""
    worker = this_worker()
    worker.run(worker.refresh())


class Turns(bootsteps.StartStopStep):
    """Each worker asks for the next turn of shipping itself, so that it needs no beat (R-24)."""

    requires = (Tasks,)

    def start(self, parent: Any) -> None:
        parent.timer.call_repeatedly(_TURN_SECONDS, self._ask)
        self._ask()

    def _ask(self) -> None:
        try:
            ship.apply_async(expires=2 * _TURN_SECONDS, retry=False)
        except OperationalError:
            _log.warning("no turn of shipping could be asked for: Redis does not answer")
