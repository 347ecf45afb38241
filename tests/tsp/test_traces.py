"""Traces reach an OTLP collector: the caller's trace goes on, key services' calls are inside, nobody's name is."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.feed import FeedServer
from tests.support.people import NORTH
from tests.support.processes import free_port
from tests.tsp.doubles import API_KEY, request
from tests.tsp.test_serve import Proxy, feed

__all__ = ["feed"]  # a fixture
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes OTLP over HTTP; `spans` as they came, `bodies` raw."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.bodies.append(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def wait(self, count: int) -> list[Any]:
        until = time.monotonic() + 15
        while len(self.spans) < count and time.monotonic() < until:
            time.sleep(0.05)
        return self.spans

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


@pytest.fixture
def start(tmp_path: Path, feed: FeedServer) -> Iterator[Callable[..., Proxy]]:
    running: list[Proxy] = []

    def make(**settings: str) -> Proxy:
        running.append(Proxy(tmp_path, feed, **settings))
        running[-1].process.wait_for_port(running[-1].port)
        return running[-1]

    yield make
    for one in running:
        one.process.stop()


def wrap(proxy: Proxy, key: str = API_KEY, **headers: str) -> tuple[int, str, bytes]:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{proxy.port}/api/1/document/wrap",
        json.dumps(request(NORTH)).encode(),
        {"Authorization": f"cmk {key}", **headers},
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.headers["x-ray-id"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["x-ray-id"], b""


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_callers_trace_goes_on_through_the_key_service(start: Callable[..., Proxy], collector: Collector) -> None:
    proxy = start(TSP_OTLP_URL=collector.url)
    _, ray, reply = wrap(proxy, traceparent=f"00-{TRACE}-{PARENT}-01")
    proxy.process.stop()  # the rest is sent at the end
    (served,) = [span for span in collector.spans if span.name == "POST document/wrap"]
    assert (served.trace_id.hex(), served.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(served) == {"http.route": "document/wrap", "http.response.status_code": 200, "cmk.ray_id": ray}
    asked = [span for span in collector.spans if span.name.startswith("kms ")]
    assert asked  # the lease of the first wrap
    assert all(attributes(span)["cmk.outcome"] == "ok" for span in asked)
    assert any(span.trace_id == served.trace_id for span in asked)
    for body in collector.bodies:
        assert json.loads(reply)["dek"].encode() not in body
        assert NORTH.encode() not in body
        assert API_KEY.encode() not in body


def test_who_has_no_key_leaves_no_trace(start: Callable[..., Proxy], collector: Collector) -> None:
    proxy = start(TSP_OTLP_URL=collector.url)
    assert wrap(proxy, key="wrong", traceparent=f"00-{TRACE}-{PARENT}-01")[0] == 401
    assert wrap(proxy)[0] == 200
    assert [span for span in collector.wait(1) if span.name == "POST document/wrap"]
    assert TRACE not in {span.trace_id.hex() for span in collector.spans}


def test_a_share_of_the_traces_can_be_taken(start: Callable[..., Proxy], collector: Collector) -> None:
    """A caller that follows its request is followed all the same."""
    proxy = start(TSP_OTLP_URL=collector.url, TSP_TRACE_PERCENT="0")
    wrap(proxy)
    wrap(proxy, traceparent=f"00-{TRACE}-{PARENT}-01")
    proxy.process.stop()
    assert [span.trace_id.hex() for span in collector.spans if span.name == "POST document/wrap"] == [TRACE]


def test_a_collector_that_is_away_holds_nobody_up(start: Callable[..., Proxy]) -> None:
    proxy = start(TSP_OTLP_URL=f"http://127.0.0.1:{free_port()}/v1/traces")
    assert [wrap(proxy)[0] for _ in range(5)] == [200] * 5
    time.sleep(1.5)
    assert wrap(proxy)[0] == 200
    assert proxy.process.output().count("trace collector does not take traces") == 1
