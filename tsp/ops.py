"""The operator's port: alive, ready, health, numbers for Prometheus, leases. Only the last one names tenants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from tsp.app import Receive, Scope, Send
from tsp.leases.lease import life
from tsp.numbers import Numbers
from tsp.plane import Plane

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_JSON = b"application/json"


class State(Protocol):
    """What the process says of itself; `report` holds numbers and flags only."""

    @property
    def ready(self) -> bool: ...

    def report(self) -> dict[str, Any]: ...


class OpsPlane:
    """`GET /live /ready /health /metrics /leases`. Needs no key, so it belongs on an inside address."""

    def __init__(self, state: State, plane: Plane) -> None:
        self._state = state
        self._plane = plane
        registry = CollectorRegistry()
        registry.register(Numbers(state.report, plane))
        self._pages: dict[str, Callable[[str], tuple[int, bytes, bytes]]] = {
            "/live": lambda _: (200, _JSON, b'{"status":"live"}'),
            "/ready": self._ready,
            "/health": self._health,
            "/metrics": lambda _: (200, _TEXT, generate_latest(registry)),
            "/leases": self._leases,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._pages.get(scope["path"])
        status, kind, body = page(_tenant(scope)) if page else (404, _JSON, b'{"status":"no such page"}')
        if scope["method"] not in ("GET", "HEAD"):
            status, kind, body = 405, _JSON, b'{"status":"GET only"}'
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _ready(self, _: str) -> tuple[int, bytes, bytes]:
        ready = self._state.ready
        return (200, _JSON, b'{"status":"ready"}') if ready else (503, _JSON, b'{"status":"not ready"}')

    def _health(self, _: str) -> tuple[int, bytes, bytes]:
        status = "ready" if self._state.ready else "not ready"
        return 200, _JSON, msgspec.json.encode({"status": status, **self._state.report()})

    def _leases(self, tenant: str) -> tuple[int, bytes, bytes]:
        """Who holds what and how it is proved, in seconds from now; `key` as in the audit events of the lease."""
        leases = self._plane.leases
        now = leases.now()
        held = [
            {
                "tenant": lease.tenant,
                "config": lease.config,
                "key": lease.digest[:8].hex(),
                "wraps": state.active is lease,
                "proof_age": round(now.boot - lease.proof.boot, 1),
                "usable_for": round(lease.proof.boot + life(lease.leasing) - now.boot, 1),
                "next_renewal": round(max(lease.retry - now.boot, 0.0), 1),
                "failed_renewals": lease.failures,
                "unused_for": round(now.boot - lease.used, 1),
            }
            for state, lease in leases.all()
            if tenant in ("", lease.tenant)
        ]
        refused = [
            {"tenant": name, "config": config, "since": round(now.boot - state.refused, 1)}
            for (name, config), state in list(leases.states.items())
            if state.refused is not None and tenant in ("", name)
        ]
        return 200, _JSON, msgspec.json.encode({"leases": held, "refused": refused})


def _tenant(scope: Scope) -> str:
    """What `?tenant=` asks for; empty for all."""
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("tenant", [""])[0]
