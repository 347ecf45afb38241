"""What operators see: numbers, leases, one id through reply, log and event, and an end without lost requests."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.errors import KmsRefused, KmsUnreachable
from tests.support.feed import FeedServer
from tests.support.people import NORTH
from tests.tsp.doubles import API_KEY, World, call, request
from tests.tsp.test_serve import Proxy, feed
from tsp.access import entry
from tsp.ops import OpsPlane

__all__ = ["feed"]  # a fixture


class Still:
    """A process that is ready and has one number."""

    ready = True

    def report(self) -> dict[str, Any]:
        return {"tenants": 2, "feed_read": True, "name": "not a number"}


async def page(made: World, path: str, query: bytes = b"", method: str = "GET") -> tuple[int, str]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": []}
    await OpsPlane(Still(), made.plane)(scope, None, send)  # type: ignore[arg-type]
    return sent[0]["status"], sent[1]["body"].decode()


async def value(made: World, line: str) -> float:
    """The number behind `line` on the page of metrics."""
    text = (await page(made, "/metrics"))[1]
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found.group(1))


async def test_requests_are_counted_by_route_and_code_with_their_time(direct: World) -> None:
    await call(direct.plane.app, "document/wrap", request())
    await call(direct.plane.app, "document/wrap", request("nobody"))
    assert await value(direct, 'tsp_requests_total{code="0",route="document/wrap"}') == 1
    assert await value(direct, 'tsp_requests_total{code="201",route="document/wrap"}') == 1
    assert await value(direct, 'tsp_request_seconds_bucket{le="+Inf",route="document/wrap"}') == 2
    assert await value(direct, 'tsp_request_seconds_count{route="document/wrap"}') == 2
    assert 0 < await value(direct, 'tsp_request_seconds_sum{route="document/wrap"}') < 5


async def test_calls_to_key_services_are_timed_by_provider_and_outcome(direct: World) -> None:
    direct.kms().adapter.seconds = 0.03
    await call(direct.plane.app, "document/wrap", request())
    direct.kms().adapter.failure = KmsUnreachable()
    await call(direct.plane.app, "document/wrap", request())
    labels = 'operation="wrap",outcome="ok",provider="test"'
    assert await value(direct, f'tsp_kms_call_seconds_bucket{{le="0.025",{labels}}}') == 0
    assert await value(direct, f'tsp_kms_call_seconds_bucket{{le="+Inf",{labels}}}') == 1
    assert await value(direct, 'tsp_kms_calls_total{operation="wrap",outcome="ok"}') == 1
    assert await value(direct, 'tsp_kms_calls_total{operation="wrap",outcome="KmsUnreachable"}') >= 1


async def test_client_versions_are_counted_and_nobody_fills_the_page_with_names(direct: World) -> None:
    def sdk(language: str, version: str) -> list[tuple[bytes, bytes]]:
        return [(b"x-icl-tsc-language", language.encode()), (b"x-icl-tsc-version", version.encode("latin-1"))]

    for _ in range(3):
        await call(direct.plane.app, "document/wrap", request(), headers=sdk("node", "4.1.3"))
    for number in range(200):
        await call(direct.plane.app, "document/wrap", request("nobody"), headers=sdk("x" * 100, f'{number}"\n\\é'))
    await call(direct.plane.app, "document/wrap", request(), headers=sdk("node", "4.1.3"))
    assert await value(direct, 'tsp_client_requests_total{language="node",version="4.1.3"}') == 4
    assert await value(direct, 'tsp_client_requests_total{language="other",version=""}') == 200 - 49
    text = (await page(direct, "/metrics"))[1]
    assert text.count("tsp_client_requests_total{") == 51
    assert all(re.fullmatch(r"#.*|\S+(\{.*\})? \S+", line) for line in text.splitlines())


async def test_a_wrong_key_does_not_get_its_client_counted(direct: World) -> None:
    await call(direct.plane.app, "document/wrap", b"", key="cmk no", headers=[(b"x-icl-tsc-language", b"node")])
    assert not direct.plane.app.clients


async def test_what_limits_refuse_is_counted(direct: World) -> None:
    for _ in range(101):
        await call(direct.plane.app, "document/wrap", b"", key="cmk no")
    assert await value(direct, 'tsp_refused_total{by="failed-auth"}') == 1
    assert await value(direct, 'tsp_requests_total{code="101",route="document/wrap"}') == 100


async def test_leases_are_shown_with_the_age_of_their_proof_and_without_keys(leased: World) -> None:
    made = await call(leased.plane.app, "document/wrap", request())
    await call(leased.plane.app, "document/wrap", request("b"))
    leased.clock.advance(60)
    status, text = await page(leased, "/leases", b"tenant=a")
    shown = json.loads(text)
    assert status == 200
    assert shown["refused"] == []
    (lease,) = shown["leases"]
    kept = leased.kms().leasing
    assert (lease["tenant"], lease["config"], lease["wraps"], lease["proof_age"]) == ("a", 11, True, 60.0)
    assert lease["usable_for"] == max(kept.renew, kept.hold) - 60.0
    assert 0 <= lease["next_renewal"] <= kept.renew * 1.1 - 60.0
    (held,) = [one for _, one in leased.plane.leases.all() if one.tenant == "a"]
    lek = bytes(held.lek.view())
    for secret in (base64.b64encode(lek).decode(), lek.hex(), made.json()["dek"], base64.b64encode(held.elek).decode()):
        assert secret not in text
    assert len(json.loads((await page(leased, "/leases"))[1])["leases"]) == 2
    assert json.loads((await page(leased, "/leases", b"tenant=%2e"))[1])["leases"] == []
    assert await value(leased, "tsp_leases") == 2
    assert await value(leased, "tsp_lease_oldest_proof_seconds") == 60


async def test_a_refusal_is_shown_until_access_is_given_again(leased: World) -> None:
    await call(leased.plane.app, "document/wrap", request())
    leased.plane.leases.refuse("a", 11, KmsRefused())
    leased.clock.advance(5)
    shown = json.loads((await page(leased, "/leases"))[1])
    assert shown == {"leases": [], "refused": [{"tenant": "a", "config": 11, "since": 5.0}]}
    assert await value(leased, "tsp_tenant_keys_refused") == 1
    assert (await call(leased.plane.app, "document/wrap", request())).status == 200
    assert json.loads((await page(leased, "/leases"))[1])["refused"] == []


async def test_no_page_but_the_leases_names_a_tenant(leased: World) -> None:
    await call(leased.plane.app, "document/wrap", request("b"))
    for path in ("/live", "/ready", "/health", "/metrics"):
        assert '"b"' not in (await page(leased, path))[1]
    assert '"name"' in (await page(leased, "/health"))[1]
    assert (await page(leased, "/leases", method="POST"))[0] == 405


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


def ask(proxy: Proxy, body: dict[str, Any], key: str = API_KEY) -> tuple[int, str]:
    """Status and ray id."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{proxy.port}/api/1/document/wrap", json.dumps(body).encode(), {"Authorization": f"cmk {key}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.headers["x-ray-id"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["x-ray-id"]


def lines(proxy: Proxy, ray: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in proxy.process.output().splitlines() if line.startswith("{")]
    return [line for line in found if line.get("ray_id") == ray]


def test_one_ray_id_in_reply_log_and_event(start: Callable[..., Proxy]) -> None:
    """North has no SIEM, so its events are printed beside the log. DEBUG also logs what went well."""
    proxy = start(LOG_LEVEL="DEBUG")
    status, ray = ask(proxy, request(NORTH))
    refused, other = ask(proxy, {"tenantId": NORTH})
    assert (status, refused) == (200, 400)
    until = time.monotonic() + 10
    while len(lines(proxy, ray)) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    logged, event = sorted(lines(proxy, ray), key=lambda line: "action" in line)
    assert (logged["logger"], logged["status"], logged["path"]) == ("tsp.app", 200, "document/wrap")
    assert logged["milliseconds"] > 0
    assert (event["action"], event["tenant"]) == ("dek.wrap", NORTH)
    (failed,) = lines(proxy, other)
    assert (failed["status"], failed["code"], failed["level"]) == (400, 102, "INFO")


def test_a_flood_does_not_fill_the_log(start: Callable[..., Proxy]) -> None:
    proxy = start()
    for _ in range(300):
        ask(proxy, {}, key="wrong")
    shown = [line for line in proxy.process.output().splitlines() if "a request was refused" in line]
    assert 1 <= len(shown) < 150


def test_settings_switch_limits_and_scoped_keys_on(start: Callable[..., Proxy], tmp_path: Path) -> None:
    """And a key that is taken out of the file is refused within two seconds, without a restart."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([entry("bm9ydGgtb25seS1rZXk=", "north-only", [NORTH], ["wrap"])]))
    proxy = start(TSP_API_KEYS_FILE=str(file), TSP_RATE_PER_TENANT="5")
    key = "bm9ydGgtb25seS1rZXk="
    assert ask(proxy, request(NORTH), key)[0] == 200
    assert ask(proxy, request("nobody"), key)[0] == 401
    assert 429 in [ask(proxy, request(NORTH))[0] for _ in range(20)]
    file.write_text("[]")
    time.sleep(2.5)
    assert ask(proxy, request(NORTH), key)[0] == 401


def test_the_pages_of_a_running_proxy(start: Callable[..., Proxy]) -> None:
    proxy = start()
    ask(proxy, request(NORTH))
    health = json.loads(proxy.get("/health")[1])
    assert 0 <= health["config_age_seconds"] < 30
    assert health["audit_waiting"] >= 0
    metrics = proxy.get("/metrics")[1]
    for name in ("tsp_config_age_seconds", "tsp_audit_waiting", "tsp_audit_oldest_seconds", "tsp_leases_failing"):
        assert re.search(rf"^{name} \S+$", metrics, re.MULTILINE)
    assert 'provider="Local key file (development only)"' in metrics
    (lease,) = json.loads(proxy.get(f"/leases?tenant={NORTH}")[1])["leases"]
    assert lease["tenant"] == NORTH


def test_while_it_stops_it_is_not_ready_and_takes_nobody_new(start: Callable[..., Proxy]) -> None:
    """What is on its way gets its answer."""
    proxy = start()
    body = json.dumps(request(NORTH)).encode()
    head = f"POST /api/1/document/wrap HTTP/1.1\r\nHost: x\r\nAuthorization: cmk {API_KEY}\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
        time.sleep(0.3)
        proxy.process.child.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert proxy.get("/ready")[0] == 503
        assert proxy.get("/live")[0] == 200
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=2)
        connection.sendall(body[10:])
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
    assert proxy.process.child.wait(10) == 0
