"""One Celery worker process: its own control side, its own event loop, and the work that tasks ask for."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from billiard import current_process
from django.conf import settings
from redis.asyncio import Redis

from tsp.audit.stream import StreamTrail
from tsp.conf import TspSettings
from tsp.control import Control
from tsp.gate import KmsGate
from tsp.leases.fleet import renew_fleet
from tsp.leases.journal import Journal

SHIP_SECONDS = 5.0
_LEASE_MS = 30_000
_KEEP_SECONDS = 5.0
# only the holder may prolong or give back the lease
_PROLONG = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"
_Result = TypeVar("_Result")
_log = logging.getLogger("tsp.worker")


class Worker:
    """Ships for the whole fleet when it holds the lease to do so.

    The lease only saves work: two shippers at the same time would send some events twice, with the same ids. A worker
    that dies keeps it for 30 s, then another one finds every undelivered event in its stream (R-22).
    """

    def __init__(self, conf: TspSettings, folder: Path) -> None:
        if not conf.redis_url:
            raise ValueError("workers need Redis: set TSP_REDIS_URL")
        self.conf, self.loop = conf, asyncio.new_event_loop()
        self.control = Control(conf, folder, worker=True)
        self._redis = cast(Redis, self.control.redis)
        self._vendor, self._lease = conf.vendor, f"cmk:{conf.vendor}:ship"
        self._gate = KmsGate()
        self._journal = Journal(self.control.trail, conf.vendor, f"{conf.name}-worker")
        self._token = secrets.token_hex(16)
        self.run(self.control.start())

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """What `work` returns; it runs in this process's loop, to which the connections belong."""
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        """Let go of files, connections and threads."""
        self.run(self.control.close())
        self._gate.close()
        self.loop.close()

    async def refresh(self) -> None:
        """The newest configurations, and what this process's own spool holds since Redis was away."""
        if isinstance(self.control.trail, StreamTrail):
            await self.control.trail.probe()
        await self.control.configs.refresh()

    async def renew(self) -> int:
        """Prove the fleet's leased keys that are due: how many the tenants' key services confirmed."""
        await self.refresh()
        done = await renew_fleet(self._redis, self._vendor, self.control.configs, self._gate, self._journal)
        await self._journal.drained()
        return done.proved

    async def ship(self, seconds: float = SHIP_SECONDS) -> bool:
        """Ship for `seconds`; False at once if another worker does."""
        if not await self._redis.set(self._lease, self._token, nx=True, px=_LEASE_MS):
            return False
        keeping = asyncio.create_task(self._keep())
        refreshing = asyncio.create_task(self._refresh())
        try:
            await self.control.shipper.run(seconds)
        finally:
            for task in (keeping, refreshing):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await cast(Any, self._redis.eval(_RELEASE, 1, self._lease, self._token))
        return True

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            await cast(Any, self._redis.eval(_PROLONG, 1, self._lease, self._token, _LEASE_MS))

    async def _refresh(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self.control.seconds + self.control.configs.pause)


@cache
def this_worker() -> Worker:
    """The one of this process, made when its first task runs. Each child of a worker has a folder of its own."""
    conf = TspSettings.of(settings)
    return Worker(conf, conf.state_dir / f"worker-{getattr(current_process(), 'index', 0)}")
