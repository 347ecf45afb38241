"""The proxy as a process: fed by a portal, watched on its second port, hardened, and gentle at the end."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.feed import TOKEN, FeedServer
from tests.support.people import NORTH, document, private_keys, sealed_record
from tests.support.processes import ROOT, free_port
from tests.support.proxy import SECOND, Proxy
from tests.tsp.doubles import API_KEY, request
from tsp.kms.local import create_key_file


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[FeedServer]:
    """A portal with one tenant, north, in leased mode."""
    create_key_file(tmp_path / "north.json")
    server = FeedServer()
    server.records.append(sealed_record(document(key_file=tmp_path / "north.json", leased=True), sequence=1))
    yield server
    server.stop()


@pytest.fixture
def proxy(tmp_path: Path, feed: FeedServer) -> Iterator[Proxy]:
    running = Proxy(tmp_path, feed)
    running.process.wait_for_port(running.port)
    yield running
    running.process.stop()


def test_serves_the_tenants_of_the_feed(proxy: Proxy) -> None:
    made = proxy.post("document/wrap", request(NORTH))
    opened = proxy.post("document/unwrap", request(NORTH, encryptedDocumentKey=made["edek"]), SECOND)
    assert opened == {"dek": made["dek"]}


def test_the_second_port_tells_how_it_is(proxy: Proxy) -> None:
    proxy.post("document/wrap", request(NORTH))
    assert proxy.get("/live") == (200, '{"status":"live"}')
    assert proxy.get("/ready") == (200, '{"status":"ready"}')
    health = json.loads(proxy.get("/health")[1])
    assert (health["status"], health["tenants"], health["feed_read"]) == ("ready", 1, True)
    status, text = proxy.get("/metrics")
    assert status == 200
    assert 'tsp_requests_total{code="0",route="document/wrap"} 1.0' in text
    assert 'tsp_kms_calls_total{operation="prove-lease",outcome="ok"} 1.0' in text
    assert "tsp_leases 1.0" in text
    assert proxy.get("/other")[0] == 404
    for page in ("/health", "/metrics"):
        assert NORTH not in proxy.get(page)[1]


def test_the_process_is_closed_to_its_neighbours(proxy: Proxy) -> None:
    """T-20: no core dumps, and no secret in what it logs."""
    limits = Path(f"/proc/{proxy.process.pid}/limits").read_text()
    assert any(line.split()[4:6] == ["0", "0"] for line in limits.splitlines() if "core file" in line)
    proxy.post("document/wrap", request(NORTH))
    shown = proxy.process.output()
    for secret in (API_KEY, SECOND, TOKEN, private_keys()):
        assert secret not in shown
    for line in shown.splitlines():
        json.loads(line)


def test_an_abort_leaves_no_core(proxy: Proxy) -> None:
    """T-20: the kernel itself says whether it wrote one."""
    proxy.post("document/wrap", request(NORTH))
    proxy.process.child.send_signal(signal.SIGABRT)
    ended = os.waitid(os.P_PID, proxy.process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGABRT)


def test_stops_gently(proxy: Proxy, tmp_path: Path) -> None:
    """A request that is on its way gets its answer; the exit code is 0."""
    body = json.dumps(request(NORTH)).encode()
    head = (
        f"POST /api/1/document/wrap HTTP/1.1\r\nHost: x\r\nAuthorization: cmk {API_KEY}\r\nContent-Length: {len(body)}"
    )
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body[:10])
        time.sleep(0.3)
        proxy.process.child.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert proxy.process.child.poll() is None
        connection.sendall(body[10:])
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"dek"' in answer
    assert proxy.process.child.wait(10) == 0
    assert "Traceback" not in proxy.process.output()


def test_after_a_kill_it_is_ready_again_with_its_keys(proxy: Proxy, tmp_path: Path, feed: FeedServer) -> None:
    """R-13 and R-25: within five seconds, without the portal, and no key is on the disk."""
    made = proxy.post("document/wrap", request(NORTH))
    proxy.process.child.kill()
    proxy.process.child.wait()
    feed.stop()
    began = time.monotonic()
    again = Proxy(tmp_path, feed)
    again.process.wait_for_port(again.port)
    assert time.monotonic() - began < 5.0
    assert again.post("document/unwrap", request(NORTH, encryptedDocumentKey=made["edek"])) == {"dek": made["dek"]}
    again.process.stop()
    dek = base64.b64decode(made["dek"])
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert dek not in held
            assert made["dek"].encode() not in held


def test_without_portal_and_without_state_it_lives_and_is_not_ready(tmp_path: Path, feed: FeedServer) -> None:
    """R-13: no traffic is let in, so no tenant is called unknown by mistake."""
    feed.raw = (503, b"")
    running = Proxy(tmp_path, feed)
    running.process.wait_for_port(running.ops)
    time.sleep(1)
    assert (running.get("/live")[0], running.get("/ready")[0]) == (200, 503)
    with pytest.raises(urllib.error.URLError):
        running.post("document/wrap", request(NORTH))
    feed.raw = None
    running.process.wait_for_port(running.port)
    assert "dek" in running.post("document/wrap", request(NORTH))
    assert running.process.stop() == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"TSP_API_KEY": ""}, "TSP_API_KEY is not set"),
        ({"TSP_API_KEY_2": API_KEY}, "are the same"),
        ({"TSP_PRIVATE_KEYS": ""}, "TSP_PRIVATE_KEYS is not set"),
        ({"TSP_PRIVATE_KEYS": "c2hvcnQ="}, "private key 1 is not base64"),
        ({"TSP_BROKER_URL": ""}, "TSP_BROKER_URL is not set"),
        ({"TSP_BROKER_TOKEN": ""}, "TSP_BROKER_TOKEN is not set"),
        ({"CMK_VENDOR": ""}, "CMK_VENDOR is not set"),
        ({"TSP_PORT": "1", "TSP_HOST": "203.0.113.1"}, "cannot start"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_stops_the_start_with_the_fix(
    tmp_path: Path, feed: FeedServer, settings: dict[str, str], said: str
) -> None:
    running = Proxy(tmp_path, feed, **settings)
    running.process.child.wait(20)
    assert running.process.stop() != 0
    assert said in running.process.output()
    assert "Traceback" not in running.process.output()
    assert API_KEY not in running.process.output()


def test_two_processes_do_not_share_a_state_folder(proxy: Proxy, tmp_path: Path, feed: FeedServer) -> None:
    env = {**proxy.env, "TSP_PORT": str(free_port()), "TSP_OPS_PORT": str(free_port())}
    command = [sys.executable, "manage.py", "tsp_serve"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "another process owns" in done.stderr
