"""The operator's port: alive, ready, health, and numbers for Prometheus. Shows no name of a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tsp.app import Receive, Scope, Send
from tsp.plane import Plane

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_JSON = b"application/json"


class State(Protocol):
    """What the process says of itself; `report` holds numbers and flags only."""

    @property
    def ready(self) -> bool: ...

    def report(self) -> dict[str, Any]: ...


class OpsPlane:
    """`GET /live /ready /health /metrics`. Needs no key, so it belongs on an inside address."""

    def __init__(self, state: State, plane: Plane) -> None:
        self._state = state
        registry = CollectorRegistry()
        registry.register(_Numbers(state, plane))
        self._pages: dict[str, Callable[[], tuple[int, bytes, bytes]]] = {
            "/live": lambda: (200, _JSON, b'{"status":"live"}'),
            "/ready": self._ready,
            "/health": self._health,
            "/metrics": lambda: (200, _TEXT, generate_latest(registry)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._pages.get(scope["path"])
        status, kind, body = page() if page else (404, _JSON, b'{"status":"no such page"}')
        if scope["method"] not in ("GET", "HEAD"):
            status, kind, body = 405, _JSON, b'{"status":"GET only"}'
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _ready(self) -> tuple[int, bytes, bytes]:
        ready = self._state.ready
        return (200, _JSON, b'{"status":"ready"}') if ready else (503, _JSON, b'{"status":"not ready"}')

    def _health(self) -> tuple[int, bytes, bytes]:
        status = "ready" if self._state.ready else "not ready"
        return 200, _JSON, msgspec.json.encode({"status": status, **self._state.report()})


class _Numbers(Collector):
    """Reads the counters that the planes keep anyway: a request pays nothing for its metrics but an addition."""

    def __init__(self, state: State, plane: Plane) -> None:
        self._state = state
        self._plane = plane

    def collect(self) -> Iterable[Metric]:
        app, plane = self._plane.app, self._plane
        requests = CounterMetricFamily(
            "tsp_requests", "Requests by route and code; 0 is success", labels=("route", "code")
        )
        for (route, code), count in list(app.requests.items()):
            requests.add_metric((route, str(code)), count)
        yield requests
        seconds = HistogramMetricFamily("tsp_request_seconds", "Time of requests by route", labels=("route",))
        for route, durations in list(app.seconds.items()):
            seconds.add_metric((route,), list(durations.buckets()), durations.sum)
        yield seconds
        clients = CounterMetricFamily("tsp_client_requests", "Requests by client library", labels=("client",))
        for client, count in list(app.clients.items()):
            clients.add_metric((client,), count)
        yield clients
        calls = CounterMetricFamily(
            "tsp_kms_calls", "Calls to key services by outcome", labels=("operation", "outcome")
        )
        for (operation, outcome), count in list(plane.gate.outcomes.items()):
            calls.add_metric((operation, outcome), count)
        yield calls
        yield GaugeMetricFamily("tsp_leases", "Leased keys in memory", value=sum(1 for _ in plane.leases.all()))
        yield CounterMetricFamily(
            "tsp_lease_events_lost", "Lease events without a trail", value=plane.leases.journal.lost
        )
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        for name, value in self._state.report().items():
            if isinstance(value, int | float):
                yield GaugeMetricFamily(f"tsp_{name}", f"{name} of /health", value=float(value))
