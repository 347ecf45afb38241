"""Traces of requests and of calls to key services, for the operator's collector. Off unless TSP_OTLP_URL is set.

OTLP 1.x over HTTP; a caller's trace goes on (W3C Trace Context). A span holds route, status and ray id, and of a key
service its kind and answer: no tenant, no id, no key. The ray id leads to the tenant's audit event.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tsp.app import Message, Receive, Scope, Send
from tsp.egress import Egress, EgressError

_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Traces:
    """Makes spans and sends them in batches from a thread of its own; what cannot be sent is dropped, never waited for.

    `share`: of a hundred requests without a trace of their own, how many are followed.
    """

    def __init__(self, url: str, *, name: str, share: int) -> None:
        # not Resource.create: nothing of a span comes from the environment
        resource = Resource({"service.name": "cmk-tsp", "service.instance.id": name})
        self._provider = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(share / 100)), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter(url), schedule_delay_millis=1000))
        self._tracer = self._provider.get_tracer("tsp")
        self._context = TraceContextTextMapPropagator()

    def of(self, app: Any) -> Any:
        """`app` with a span around each request."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            found = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            name = scope["path"].lstrip("/").removeprefix("api/1/")[:100]
            span = self._tracer.start_span(
                f"POST {name}",
                context=self._context.extract(found),
                kind=SpanKind.SERVER,
                attributes={"http.route": name},
            )
            status = 0

            async def sending(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    ray = next((value for name, value in message["headers"] if name == b"x-ray-id"), b"")
                    span.set_attributes({"http.response.status_code": status, "cmk.ray_id": ray.decode()})
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            with use_span(span):
                await app(scope, receive, sending)
            if status not in (401, 404):  # never ended, never sent: who has no key shall not fill the collector
                span.end()

        return traced

    def called(self, provider: str, operation: str, outcome: str, seconds: float) -> None:
        """A key service has answered just now, after `seconds`; within the request that asked, or by itself."""
        now = time.time_ns()
        span = self._tracer.start_span(
            f"kms {operation}",
            kind=SpanKind.CLIENT,
            start_time=now - int(seconds * 1e9),
            attributes={"cmk.provider": provider, "cmk.outcome": outcome},
        )
        if outcome != "ok":
            span.set_status(Status(StatusCode.ERROR))
        span.end(now)

    def close(self) -> None:
        """Send what waits. Blocking, some seconds at most."""
        self._provider.shutdown()


class _Exporter(SpanExporter):
    def __init__(self, url: str) -> None:
        self._url = url
        # the operator, not a tenant, chose this address: it may be a private one
        self._egress = Egress(allow=("0.0.0.0/0", "::/0"))
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        body: bytes = encode_spans(spans).SerializeToString()
        headers = {"content-type": "application/x-protobuf"}
        try:
            sent = self._egress.request("POST", self._url, headers=headers, body=body, timeout=_SECONDS)
            fine = 200 <= sent.status < 300
        except EgressError:
            fine = False
        if not fine and not self._failing:
            _log.warning("the trace collector does not take traces: they are dropped until it does")
        self._failing = not fine
        return SpanExportResult.SUCCESS if fine else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._egress.close()
