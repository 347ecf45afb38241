"""The proxy's process: data plane and operator's port in one event loop, background work, and a gentle end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from tsp import listen
from tsp.access import AccessFile
from tsp.audit.backlog import Backlog
from tsp.auth import ApiKeys
from tsp.clock import Clock
from tsp.conf import ConfError, TspSettings
from tsp.control import Control
from tsp.leases.agreement import Agreement, FileAgreement
from tsp.leases.board import Board, RedisAgreement
from tsp.ops import OpsPlane
from tsp.plane import Plane, build
from tsp.secret_store import BrokerSecrets

if TYPE_CHECKING:
    from tsp.traces import Traces

_NOT_READY_SECONDS = 0.2
_log = logging.getLogger(__name__)


class Process:
    """One proxy. `ready` says whether it may get traffic: configurations are there, and it is not on its way out."""

    def __init__(self, conf: TspSettings, clock: Clock | None = None) -> None:
        folder = conf.state_dir / "proxy"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.control = Control(conf, folder)
        redis = self.control.redis
        agreement: Agreement = RedisAgreement(redis) if redis else FileAgreement(folder / "leases")
        self._secrets = BrokerSecrets(conf.broker_url, conf.broker_token, name=conf.name)
        self._access = AccessFile(conf.api_keys_file) if conf.api_keys_file else None
        self.plane: Plane = build(
            vendor=conf.vendor,
            name=conf.name,
            keys=ApiKeys(conf.api_key, conf.api_key_2, self._access),
            directory=self.control.configs,
            trail=self.control.trail,
            agreement=agreement,
            secrets=self._secrets,
            notices=Board(redis, conf.vendor) if redis else None,
            clock=clock,
            limits=conf.limits,
        )
        self._backlog = Backlog(self.control.spool, redis, conf.vendor)
        self._traces = _traces(conf)
        if self._traces is not None:
            self.plane.gate.watch = self._traces.called
        app = self.plane.app if self._traces is None else self._traces.of(self.plane.app)
        self._data = listen.Listener(app, conf.host, conf.port)
        self._ops = listen.Listener(OpsPlane(self, self.plane), conf.host, conf.ops_port)
        self._serving = False

    @property
    def ready(self) -> bool:
        return self._serving

    def report(self) -> dict[str, Any]:
        """For /health and the metrics: numbers and flags, no names."""
        return {
            "tenants": len(self.control.configs.tenants()),
            "feed_read": self.control.configs.complete,
            "config_age_seconds": round(self.control.configs.age, 1),
            "audit_waiting": self._backlog.events,
            "audit_oldest_seconds": round(self._backlog.seconds, 1),
            "audit_spooled": self.control.spool.pending,
            "audit_queues_in_trouble": len(self.control.shipper.trouble),
        }

    async def run(self) -> None:
        """Until SIGTERM; then no new requests, those in flight get their answers, and leased keys are wiped."""
        ending = asyncio.create_task(listen.stopped())
        working = asyncio.create_task(self._work())
        await self._ops.start()
        try:
            await asyncio.wait({ending, working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._serving = False
            await self._data.stop()
            working.cancel()
            outcome = await asyncio.gather(working, return_exceptions=True)
            await self.plane.leases.journal.drained()
            self.plane.close()
            self._secrets.close()
            await self.control.close()
            await self._ops.stop()
            if self._traces is not None:
                await asyncio.to_thread(self._traces.close)
        if isinstance(outcome[0], Exception):
            raise outcome[0]

    async def _work(self) -> None:
        """Configurations first, then traffic: a tenant that is not read yet must not be called unknown."""
        await self.control.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.control.run())
            group.create_task(self.plane.renewal.run())
            group.create_task(self._backlog.run())
            if self._access is not None:
                group.create_task(self._access.run())
            while not self.control.configs.ready:  # noqa: ASYNC110  a flag of a loop that has no event for it
                await asyncio.sleep(_NOT_READY_SECONDS)
            await self._data.start()
            listen.settle()
            self._serving = True
            _log.info("the proxy is ready", extra={"state": "ready", "count": len(self.control.configs.tenants())})


def _traces(conf: TspSettings) -> Traces | None:
    if not conf.otlp_url:
        return None
    try:
        from tsp.traces import Traces
    except ImportError:
        raise ConfError("TSP_OTLP_URL is set, and traces need the packages of the extra 'otel'") from None
    return Traces(conf.otlp_url, name=conf.name, share=conf.trace_percent)
