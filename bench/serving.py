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
    spool = SpoolTrail(state / "audit")
    trail = StreamTrail(connect(url), VENDOR, spool)
    await trail.start()
    if not trail.up:
        raise RuntimeError("there is no Redis to measure with")
    plane = plane_on(trail, state)
    listener = listen.Listener(plane.app, "127.0.0.1", 0)
    renewing = asyncio.create_task(plane.renewal.run())
    await listener.start()
    listen.settle()
    print(f"bench ready: http://127.0.0.1:{listener.port}", flush=True)
    await listen.stopped()
    await listener.stop()
    renewing.cancel()
    await trail.close()
    spool.close()
    plane.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        listen.run(lambda: _serve(sys.argv[1], Path(folder)))
