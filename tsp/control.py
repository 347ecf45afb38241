"""Putting the control side together: configurations, audit trail and shipping, for the proxy and for its workers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from redis.asyncio import Redis

from tsp.audit.ship import Shipper
from tsp.audit.spool import SpoolTrail
from tsp.audit.stream import StreamTrail, connect
from tsp.audit.stream_source import StreamSource
from tsp.conf import TspSettings
from tsp.config_feed import BrokerFeed
from tsp.configs import Configs, SharedMarks, Shelf
from tsp.egress import Egress
from tsp.unseal import PrivateKeys

_AGAIN_SECONDS = 1.0
_log = logging.getLogger("tsp.control")


class Control:
    """One process's configurations, trail and shipper, in its own `folder`.

    The proxy tells tenants about their configurations and reports to the portal; with Redis its workers ship, and it
    ships only the farewells in its own spool. A worker ships what is in Redis and tells nobody.
    """

    def __init__(self, settings: TspSettings, folder: Path, *, worker: bool = False) -> None:
        """ValueError for private keys that are none; AuditUnavailable if another process owns `folder`."""
        vendor, keys = settings.vendor, PrivateKeys.parse(settings.private_keys)
        self.seconds = settings.refresh_seconds
        self.redis: Redis | None = connect(settings.redis_url) if settings.redis_url else None
        self.egress = Egress(settings.egress_allow)
        self.spool = SpoolTrail(folder / "audit", when_full=lambda tenant: self.configs.when_full(tenant))
        self.trail = self.spool if self.redis is None else StreamTrail(self.redis, vendor, self.spool)
        self.configs = Configs(
            vendor,
            keys,
            self.egress,
            BrokerFeed(settings.broker_url, settings.broker_token, vendor=vendor, name=settings.name, keys=keys.ids),
            Shelf(folder / "configs"),
            shared=SharedMarks(self.redis, vendor) if self.redis is not None else None,
            mail=None if worker else self.trail,
            tsp=settings.name,
            allow_local=settings.allow_local_kms,
            report=not worker,
        )
        self.source = self.spool if self.redis is None or not worker else StreamSource(self.redis, vendor)
        self.shipper = Shipper(self.source, self.configs, mine=self._mine(worker))

    def _mine(self, worker: bool) -> Callable[[str], bool]:
        if self.redis is None:
            return lambda queue: True
        return (lambda queue: "~" not in queue) if worker else (lambda queue: "~" in queue)

    async def start(self) -> None:
        """StreamUnsafe if Redis is there and would lose events; everything else that is away is tried again later."""
        if isinstance(self.trail, StreamTrail):
            await self.trail.start()
        await self.configs.refresh()

    async def run(self) -> None:
        """The background work, until cancelled. A fault in one part is logged, and it goes on."""
        parts = [self._refreshing, self.shipper.run]
        if isinstance(self.trail, StreamTrail):
            parts.append(self.trail.run)
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(_for_ever(part))

    async def close(self) -> None:
        """Write what waits and let go of files and connections."""
        self.shipper.close()
        self.configs.close()
        if isinstance(self.trail, StreamTrail):
            await self.trail.close()
        await asyncio.to_thread(self.spool.close)
        self.egress.close()

    async def _refreshing(self) -> None:
        while True:
            # jitter: proxies that started together do not ask the portal together
            await asyncio.sleep((self.seconds + self.configs.pause) * random.uniform(0.8, 1.2))  # noqa: S311
            await self.configs.refresh()


async def _for_ever(part: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await part()
        except Exception:
            _log.exception("a background part failed and starts again")
        await asyncio.sleep(_AGAIN_SECONDS)
