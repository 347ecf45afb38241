"""The proxy under leased keys, with its durable audit trail, beside a bare application on the same server."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import httpx

from bench import load
from bench.rounds import Table, compare
from tests.support.processes import Process
from tests.support.sandbox import sandbox

ICL = {"requestingId": "bench", "dataLabel": "PII", "objectId": "clinic.Patient/17", "requestId": "req-9"}
BATCH = 100


def tables(quick: bool) -> list[Table]:
    rounds, seconds = (2, 1.0) if quick else (4, 3.0)
    with tempfile.TemporaryDirectory() as name, sandbox("a", leased=True) as running:
        authorization = f"cmk {running.api_key}"

        def post(route: str, **more: object) -> tuple[bytes, bytes]:
            body = json.dumps({"tenantId": "a", "iclFields": ICL, "customFields": {}, **more}).encode()
            headers = {"Authorization": authorization}
            reply = httpx.post(f"{running.url}/api/1/{route}", content=body, headers=headers, trust_env=False)
            reply.raise_for_status()
            return body, reply.content

        wrap, wrapped = post("document/wrap")
        unwrap, _ = post("document/unwrap", encryptedDocumentKey=json.loads(wrapped)["edek"])
        batch, _ = post("document/batch-wrap", documentIds=[str(n) for n in range(BATCH)])
        echo = Process([sys.executable, "-m", "bench.echo", str(len(wrapped))], Path(name) / "echo.log")
        try:
            floor = echo.wait_for_line("echo ready: ").split()[-1]

            def measured(url: str, body: bytes, times: int = 1) -> float:
                return load.per_second(url, body, authorization, seconds) * times

            api = f"{running.url}/api/1/document"
            single = compare(
                "Requests a second over 32 keep-alive connections, one process, audit durable",
                "requests/s",
                {
                    "bare ASGI echo, same server": lambda: measured(f"{floor}/", wrap),
                    "leased wrap": lambda: measured(f"{api}/wrap", wrap),
                    "leased unwrap": lambda: measured(f"{api}/unwrap", unwrap),
                },
                rounds,
                more_is_better=True,
            )
            many = compare(
                f"Data keys a second in batches of {BATCH}",
                "keys/s",
                {
                    "single wraps": lambda: measured(f"{api}/wrap", wrap),
                    f"batch-wrap of {BATCH}": lambda: measured(f"{api}/batch-wrap", batch, BATCH),
                },
                rounds,
                more_is_better=True,
            )
        finally:
            echo.stop()
    single.notes.append(f"load by {load.tool()}, which shares the cores with the server")
    single.notes.append("the proxy is the sandbox: it also moves each event from its durable queue to a file")
    return [single, many]
