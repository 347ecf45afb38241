"""Numbers for Prometheus, read from what the planes count anyway: a request pays an addition or two for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tsp.meter import Durations
from tsp.plane import Plane


class Numbers(Collector):
    """No label holds a tenant's name, and each has few values: routes, codes, providers, at most 51 clients."""

    def __init__(self, report: Callable[[], dict[str, Any]], plane: Plane) -> None:
        self._report = report
        self._plane = plane

    def collect(self) -> Iterable[Metric]:
        yield from self._requests()
        yield from self._kms()
        yield from self._leases()
        for name, value in self._report().items():
            if isinstance(value, int | float):
                yield GaugeMetricFamily(f"tsp_{name}", f"{name} of /health", value=float(value))

    def _requests(self) -> Iterator[Metric]:
        app = self._plane.app
        requests = CounterMetricFamily(
            "tsp_requests", "Requests by route and code; 0 is success", labels=("route", "code")
        )
        for (route, code), count in list(app.requests.items()):
            requests.add_metric((route, str(code)), count)
        yield requests
        yield _histogram(
            "tsp_request_seconds",
            "Time of requests by route",
            ("route",),
            (((route,), durations) for route, durations in list(app.seconds.items())),
        )
        clients = CounterMetricFamily(
            "tsp_client_requests", "Requests by client library", labels=("language", "version")
        )
        for client, count in list(app.clients.items()):
            language, _, version = client.partition(" ")
            clients.add_metric((language, version), count)
        yield clients
        limited = CounterMetricFamily(
            "tsp_refused", "Requests refused by limit or scope: failed-auth, scope, key, tenant, budget", labels=("by",)
        )
        for kind, count in list(app.guard.refused.items()):
            limited.add_metric((kind,), count)
        yield limited

    def _kms(self) -> Iterator[Metric]:
        gate = self._plane.gate
        calls = CounterMetricFamily(
            "tsp_kms_calls", "Calls to key services by outcome", labels=("operation", "outcome")
        )
        for (operation, outcome), count in list(gate.outcomes.items()):
            calls.add_metric((operation, outcome), count)
        yield calls
        yield _histogram(
            "tsp_kms_call_seconds",
            "Time of calls to key services",
            ("provider", "operation", "outcome"),
            list(gate.seconds.items()),
        )

    def _leases(self) -> Iterator[Metric]:
        leases, now = self._plane.leases, self._plane.leases.now()
        held = [lease for _, lease in leases.all()]
        refused = sum(state.refused is not None for state in list(leases.states.values()))
        oldest = max((now.boot - lease.proof.boot for lease in held), default=0.0)
        yield GaugeMetricFamily("tsp_leases", "Leased keys in memory", value=len(held))
        yield GaugeMetricFamily(
            "tsp_leases_failing",
            "Leased keys whose last renewal got no answer",
            value=sum(lease.failures > 0 for lease in held),
        )
        yield GaugeMetricFamily("tsp_lease_oldest_proof_seconds", "Age of the oldest proof", value=oldest)
        yield GaugeMetricFamily("tsp_tenant_keys_refused", "Tenant keys whose last answer was a no", value=refused)
        yield CounterMetricFamily("tsp_lease_events_lost", "Lease events without a trail", value=leases.journal.lost)


def _histogram(
    name: str, text: str, labels: tuple[str, ...], found: Iterable[tuple[tuple[str, ...], Durations]]
) -> HistogramMetricFamily:
    made = HistogramMetricFamily(name, text, labels=labels)
    for values, durations in found:
        made.add_metric(values, list(durations.buckets()), durations.sum)
    return made
