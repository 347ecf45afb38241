"""The proxy under leased keys, each event on disk before its key leaves, beside a bare application on its server."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench import cores, drf, load, paced
from bench.inside import BATCH, body, primitives
from bench.rounds import Table, compare
from tests.support.processes import Process, free_port
from tests.support.redis import Redis
from tests.support.sandbox import API_KEY, sandbox

AUTHORIZATION = f"cmk {API_KEY}"


def tables(quick: bool) -> list[Table]:
    rounds, seconds = (2, 1.0) if quick else (5, 2.0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spool = stack.enter_context(sandbox("a", leased=True))
        redis = Redis()
        stack.callback(redis.stop)
        serving = [sys.executable, "-m", "bench.serving"]
        stream = stack.enter_context(_process([*serving, redis.url], folder / "stream"))
        durable = stack.enter_context(_process(serving, folder / "durable"))
        wrapped = _post(spool.url, "wrap", body())
        floor = stack.enter_context(_process([sys.executable, "-m", "bench.echo", str(len(wrapped))], folder / "echo"))
        view = stack.enter_context(_gunicorn(folder / "drf"))
        proxies = {"spool": spool.url, "Redis": stream}
        alike = {"spool": durable, "spool and shipping": spool.url, "Redis": stream}
        found = [
            _single(alike, floor, view, wrapped, rounds, seconds),
            _half(proxies, floor, folder, quick),
            _batches(spool.url, spool.process.pid, rounds, seconds),
        ]
    return [*found, _cores(2 if quick else 5, 1.0 if quick else 3.0)]


def _single(proxies: dict[str, str], floor: str, view: str, wrapped: bytes, rounds: int, seconds: float) -> Table:
    def measured(url: str, sent: bytes) -> Callable[[], float]:
        return lambda: load.per_second(url, sent, AUTHORIZATION, seconds)

    runs = {"bare ASGI echo, same server": measured(f"{floor}/", body())}
    for name, url in proxies.items():
        unwrap = body(encryptedDocumentKey=json.loads(_post(url, "wrap", body()))["edek"])
        runs[f"leased wrap, {name}"] = measured(f"{url}/api/1/document/wrap", body())
        runs[f"leased unwrap, {name}"] = measured(f"{url}/api/1/document/unwrap", unwrap)
    runs["DRF view, the same wrap, spool"] = measured(f"{view}/api/1/document/wrap", body())
    title = "Requests a second over 32 keep-alive connections, one process, audit durable"
    table = compare(title, "requests/s", runs, rounds, more_is_better=True)
    table.notes += [
        f"load by {load.tool()}, which shares the cores with the server and Redis",
        "spool, Redis: its events wait for a shipper, which here is none; Redis with appendonly, appendfsync always",
        "spool and shipping: the sandbox, which writes its events to another file as it goes",
        f"the DRF view: gunicorn, one process, {drf.THREADS} threads; ships nothing",
    ]
    return table


def _half(proxies: dict[str, str], floor: str, folder: Path, quick: bool) -> Table:
    """Open loop: a request that has to wait for its turn is late from when it was due.

    Whoever shares the machine is in the 99th percentile: the echo at the same rate, in turns with each proxy, shows it.
    """
    rows, notes = [], ["due at a steady rate, timed from then on; the load generator's own millisecond is in it"]
    notes.append("the disk: one durable write of 4 KiB; the spool's file is reserved, that of Redis grows")
    for kind in ("reserved", "growing"):
        alone = paced.disk(folder / kind, 300, 2.0 if quick else 5.0, reserved=kind == "reserved")
        rows += [
            (f"this disk, {kind} file, {name} percentile", found, found / 5.0)
            for name, found in zip(("50th", "99th", "99.9th"), alone, strict=True)
        ]
    for name, url in proxies.items():
        route = f"{url}/api/1/document/wrap"
        most = load.per_second(route, body(), AUTHORIZATION, 1.0 if quick else 3.0)
        routes = {f"bare echo at the rate of {name}": f"{floor}/", f"leased wrap, {name}": route}
        found: dict[str, list[list[float]]] = {what: [] for what in routes}
        stolen = -_stolen()
        for _ in range(3):
            for what, where in routes.items():
                found[what].append(paced.milliseconds(where, body(), AUTHORIZATION, most / 2, 2.0 if quick else 5.0))
        stolen += _stolen()
        for what, runs in found.items():
            for percentile, values in zip(("50th", "99th", "99.9th"), zip(*runs, strict=True), strict=True):
                median = statistics.median(values)
                rows.append((f"{what}, {percentile} percentile", median, median / 5.0))
        notes.append(
            f"{name}: {most / 2:,.0f} requests/s; the host kept {stolen:.2f} s of processor time from us meanwhile"
        )
    return Table("Latency at half of the load that saturates; the ratio is to 5 ms", "ms", rows, notes)


def _batches(url: str, pid: int, rounds: int, seconds: float) -> Table:
    many = json.loads(_post(url, "batch-wrap", body(documentIds=[str(number) for number in range(BATCH)])))["keys"]
    bodies = {
        "batch-wrap": body(documentIds=list(many)),
        "batch-unwrap": body(edeks={name: one["edek"] for name, one in many.items()}),
    }
    used: dict[str, list[float]] = {name: [] for name in bodies}

    def measured(name: str) -> Callable[[], float]:
        def run() -> float:
            before, began = processor_seconds(pid), time.perf_counter()
            found = load.per_second(f"{url}/api/1/document/{name}", bodies[name], AUTHORIZATION, seconds) * BATCH
            count = found * (time.perf_counter() - began)
            used[name].append(count / (processor_seconds(pid) - before))
            return found

        return run

    runs = {"single wraps": lambda: load.per_second(f"{url}/api/1/document/wrap", body(), AUTHORIZATION, seconds)}
    runs |= {f"{name} of {BATCH}": measured(name) for name in bodies}
    title = f"Data keys a second in batches of {BATCH}, spool, the proxy on one core"
    with cores.apart(pid):
        table = compare(title, "keys/s", runs, rounds, more_is_better=True)
    for name, found in used.items():
        alone = statistics.median(_inside(name, 1, seconds)[0][1] for _ in range(rounds)) * BATCH
        table.notes.append(
            f"{name}: {statistics.median(found):,.0f} keys in a second of the process's processor time; "
            f"{alone:,.0f} with the load made inside the process, where nothing is shipped"
        )
    alone = statistics.median(primitives(seconds / 4) for _ in range(rounds))
    table.notes.append(f"HKDF and AES-GCM of a wrap alone: {alone:,.0f}")
    return table


def _cores(rounds: int, seconds: float) -> Table:
    """Two processes beside one. The load is made inside each, since a generator would take a core of the two."""
    processor: dict[int, list[float]] = {1: [], 2: []}

    def measured(count: int) -> Callable[[], float]:
        def run() -> float:
            found = _inside("wrap", count, seconds)
            processor[count] += [one[1] for one in found]
            return sum(one[0] for one in found)

        return run

    runs = {"one process": measured(1), "two processes": measured(2)}
    title = f"Leased wraps a second, load made inside the process, spool; {os.cpu_count()} cores"
    table = compare(title, "requests/s", runs, rounds, more_is_better=True)
    one, two = (1e6 / statistics.median(processor[count]) for count in (1, 2))
    table.notes.append(f"processor time of a request: {one:.1f} µs with one process, {two:.1f} µs with two")
    return table


def _inside(kind: str, count: int, seconds: float) -> list[tuple[float, float]]:
    """Of each of `count` processes, each on its core at the same time: requests a second, and a second of processor."""
    command = [sys.executable, "-m", "bench.inside", kind, str(seconds)]
    running = [
        subprocess.Popen([*command, str(core)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for core in range(count)
    ]
    for one in running:
        assert one.stdout is not None
        if one.stdout.readline() != "ready\n":
            raise RuntimeError("a measured process did not start")
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [tuple(json.loads(one.communicate()[0])) for one in running]


def processor_seconds(pid: int) -> float:
    """What the process has computed so far, in all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stolen() -> float:
    """Seconds that the host of this virtual machine gave to others although we had work; 0 where nobody tells."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def _post(url: str, route: str, sent: bytes) -> bytes:
    headers = {"Authorization": AUTHORIZATION}
    reply = httpx.post(f"{url}/api/1/document/{route}", content=sent, headers=headers, trust_env=False)
    return reply.raise_for_status().content


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[str]:
    """The address that it prints when it is ready."""
    running = Process(command, log)
    try:
        yield running.wait_for_line("ready: ").split()[-1]
    finally:
        running.stop()


@contextmanager
def _gunicorn(log: Path) -> Iterator[str]:
    port = free_port()
    running = Process(drf.command(port), log)
    try:
        running.wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.stop()
