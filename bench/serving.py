"""A proxy process to be measured: one leased tenant "a" with a local key, its audit trail in Redis or in the spool.

The parts are those of `tsp_serve`; only the configuration does not come from a portal.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.support.sandbox import API_KEY
from tsp import listen
from tsp.audit.spool import SpoolTrail
from tsp.audit.stream import StreamTrail, connect
from tsp.auth import ApiKeys
from tsp.configs.configs import Configs
from tsp.egress import Egress
from tsp.leases.agreement import FileAgreement
from tsp.plane import Plane, build
from tsp.ports import Trail
from tsp.sandbox import VENDOR, documents
from tsp.secret_file import FileSecrets


def plane_on(trail: Trail, state: Path) -> Plane:
    directory = Configs.fixed(VENDOR, documents(state, ["a"], True), Egress(["127.0.0.0/8"]))
    return build(
        vendor=VENDOR,
        name="bench",
        keys=ApiKeys(API_KEY),
        directory=directory,
        trail=trail,
        agreement=FileAgreement(state / "leases"),
        secrets=FileSecrets(state / "secrets.json"),
    )


async def _serve(url: str, state: Path) -> None:
    """With the trail in the Redis at `url`, or in the spool for "". Nothing is shipped, so the spool takes it all."""
    spool = SpoolTrail(state / "audit", max_events=2**40, max_bytes=2**50)
    stream = StreamTrail(connect(url), VENDOR, spool) if url else None
    if stream is not None:
        await stream.start()
        if not stream.up:
            raise RuntimeError("there is no Redis to measure with")
    plane = plane_on(stream or spool, state)
    listener = listen.Listener(plane.app, "127.0.0.1", 0)
    renewing = asyncio.create_task(plane.renewal.run())
    await listener.start()
    listen.settle()
    print(f"bench ready: http://127.0.0.1:{listener.port}", flush=True)
    await listen.stopped()
    await listener.stop()
    renewing.cancel()
    if stream is not None:
        await stream.close()
    spool.close()
    plane.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        listen.run(lambda: _serve(sys.argv[1] if len(sys.argv) > 1 else "", Path(folder)))
