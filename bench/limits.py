"""What guarding costs: caps and doubles in a body, rates, API keys; and whether the time of a check tells a key."""

from __future__ import annotations

import base64
import json
import math
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count

import httpx

from bench.rounds import Table, compare, timed
from encrypted_fields.core.errors import Unauthorized
from tests.support.sandbox import sandbox
from tsp import caps, wire
from tsp.auth import ApiKeys
from tsp.limits import Budget, Rate

EDEK = base64.b64encode(os.urandom(190)).decode()
META = {"tenantId": "a", "iclFields": {"requestingId": "bench", "objectId": "clinic.Patient/17"}, "customFields": {}}


def tables(quick: bool) -> list[Table]:
    return [_bodies(quick), _calls(quick), _welch(quick), _flood(quick)]


def _bodies(quick: bool) -> Table:
    single = json.dumps({**META, "encryptedDocumentKey": EDEK}).encode()
    batch = json.dumps({**META, "edeks": {f"id:{number}": EDEK for number in range(100)}}).encode()
    one, many = wire.decoder(wire.Unwrap), wire.decoder(wire.BatchUnwrap)
    seconds = 0.05 if quick else 0.2
    table = compare(
        "A body: parsing it, and what guards it",
        "µs",
        {
            "parse, single": timed(lambda: wire.decode(one, single), seconds),
            "depth, strings, values, single": timed(lambda: caps.check(single, caps.SINGLE_STRINGS), seconds),
            "no member twice, single": timed(lambda: caps.unique(single), seconds),
            "parse, batch of 100": timed(lambda: wire.decode(many, batch), seconds),
            "depth, strings, values, batch": timed(lambda: caps.check(batch, caps.BATCH_STRINGS), seconds),
            "no member twice, batch": timed(lambda: caps.unique(batch), seconds),
        },
        3 if quick else 7,
    )
    return table


def _calls(quick: bool) -> Table:
    keys, rate, budget, ticks = ApiKeys("a" * 44, "b" * 44), Rate(1e6, 1e6), Budget(2**60), count()
    seconds = 0.05 if quick else 0.2
    return compare(
        "A request: what is looked at beside its body, 10,000 tenants in turn",
        "µs",
        {
            "API key": timed(lambda: keys.check(b"cmk " + b"a" * 44), seconds),
            "rate": timed(lambda: rate.take(f"tenant-{next(ticks) % 10_000}", time.monotonic()), seconds),
            "budget": timed(lambda: budget.take(f"tenant-{next(ticks) % 10_000}", 1, time.monotonic()), seconds),
        },
        3 if quick else 7,
    )


def _welch(quick: bool) -> Table:
    """Q-12, as dudect does it: two classes in random order, the slowest tenth cut off, |t| below 4.5 tells nothing."""
    key = base64.b64encode(os.urandom(32)).decode()
    keys, samples = ApiKeys(key), 4_000 if quick else 20_000
    almost = f"cmk {key[:-2]}{'A' if key[-2] != 'A' else 'B'}=".encode()
    other = f"cmk {base64.b64encode(os.urandom(32)).decode()}".encode()

    def check(header: bytes) -> Callable[[], None]:
        def run() -> None:
            try:
                keys.check(header)
            except Unauthorized:
                return

        return run

    rows = []
    for name, pair in {
        "right but for one character, or not at all": (almost, other),
        "not at all, twice (the noise)": (other, other),
    }.items():
        values = [abs(_t(check(pair[0]), check(pair[1]), samples)) for _ in range(3)]
        rows.append((name, statistics.median(values), statistics.median(values) / 4.5))
    return Table(
        "Does the time of a check tell how much of an API key is right? Welch's |t|, median of 3",
        "|t|",
        rows,
        [f"{samples:,} samples a class; below 4.5 it does not; the ratio is to 4.5"],
    )


def _t(one: Callable[[], None], other: Callable[[], None], samples: int) -> float:
    draw, found = random.Random(), ([], [])  # type: tuple[list[int], list[int]]
    clock = time.perf_counter_ns
    while min(map(len, found)) < samples:
        which = draw.getrandbits(1)
        work = (one, other)[which]
        start = clock()
        work()
        found[which].append(clock() - start)
    cut = statistics.quantiles(found[0] + found[1], n=10)[-1]
    left, right = ([value for value in values if value <= cut] for values in found)
    spread = statistics.variance(left) / len(left) + statistics.variance(right) / len(right)
    return (statistics.fmean(left) - statistics.fmean(right)) / math.sqrt(spread)


def _flood(quick: bool) -> Table:
    """T-14: a good client beside 1,000 requests a second with wrong keys."""
    seconds = 2.0 if quick else 10.0
    with sandbox("a", leased=True) as running:
        url, body = f"{running.url}/api/1/document/wrap", json.dumps(META).encode()

        def p99() -> float:
            taken = []
            with httpx.Client(trust_env=False, headers={"Authorization": f"cmk {running.api_key}"}) as client:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    start = time.perf_counter()
                    client.post(url, content=body).raise_for_status()
                    taken.append(time.perf_counter() - start)
                    time.sleep(0.005)
            return statistics.quantiles(taken, n=100)[98] * 1000

        def flooded() -> float:
            command = [sys.executable, "-m", "bench.limits", url.split(":")[2].split("/")[0]]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flood:
                try:
                    return p99()
                finally:
                    rates.append(float(flood.communicate()[0]))

        rates: list[float] = []
        table = compare(
            "A good client, 99th percentile, beside a flood of wrong API keys",
            "ms",
            {"alone": p99, "beside the flood": flooded},
            2 if quick else 3,
        )
    table.notes.append(f"{statistics.median(rates):,.0f} wrong keys a second, each on a connection of its own")
    return table


def _wrong_keys(port: int) -> None:
    """1,000 a second until standard input ends; prints how many they were."""
    request = b"POST /api/1/document/wrap HTTP/1.1\r\nHost: x\r\nAuthorization: cmk wrong\r\nContent-Length: 0\r\n\r\n"
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    began, sent = time.monotonic(), 0
    while not ended.is_set():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            connection.recv(4096)
        sent += 1
        time.sleep(max(began + sent / 1000 - time.monotonic(), 0.0))
    print(sent / (time.monotonic() - began))


if __name__ == "__main__":
    _wrong_keys(int(sys.argv[1]))
