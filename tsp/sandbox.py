"""A proxy for developers in one process: tenants with local keys, no portal, no Redis. Never for real tenants."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path

from tsp import listen
from tsp.audit.spool import SpoolTrail
from tsp.auth import ApiKeys
from tsp.configs.configs import Configs
from tsp.contract.tenant import Binding, Document, KmsBody, Leasing, is_name
from tsp.egress import Egress
from tsp.kms.local import create_key_file
from tsp.leases.agreement import FileAgreement
from tsp.plane import build
from tsp.secret_file import FileSecrets

VENDOR = "sandbox"
RENEW_SECONDS = 2  # a withdrawn key shows within seconds; real tenants have 30 to 300
_SHIP_SECONDS = 0.05
_PAUSE = 0.02
_AT_ONCE = 100  # events, little by little: requests meet each slice on its way; of a flood an eighth, or it would win
_PIECE = 100  # between two of them the spool and the interpreter are free


def key_file(state: Path, tenant: str) -> Path:
    """Where a tenant's local key is; `tsp.kms.local.set_enabled` on it is the tenant's revocation."""
    return state / "kms" / f"{tenant}.json"


def documents(state: Path, tenants: Sequence[str], leased: bool) -> list[Document]:
    """One local key configuration a tenant, with a number made of its name, so that a restart finds its EDEKs again."""
    made = []
    for tenant in tenants:
        if not is_name(tenant):
            raise ValueError("a tenant is named with 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first and last")
        path = key_file(state, tenant)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            create_key_file(path)
        number = int.from_bytes(sha256(tenant.encode()).digest()[:4], "big") >> 1 or 1
        binding = Binding(VENDOR, tenant, number, "kms", 1, "", "2026-01-01T00:00:00Z", "0" * 32)
        made.append(
            Document(binding, KmsBody("local", {"key_file": str(path)}, leasing=Leasing(leased, RENEW_SECONDS)))
        )
    return made


async def serve(
    host: str, port: int, api_key: str, tenants: Sequence[str], leased: bool, state_dir: Path | None
) -> None:
    """Until SIGTERM; prints one line when it is ready. Events end up in `audit.jsonl` of the state folder."""
    listen.harden()
    with ExitStack() as stack:
        state = state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cmk-sandbox-")))
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = Configs.fixed(VENDOR, documents(state, tenants, leased), Egress(["127.0.0.0/8", "::1/128"]))
        trail = SpoolTrail(state / "audit")
        stack.callback(trail.close)
        plane = build(
            vendor=VENDOR,
            name="sandbox",
            keys=ApiKeys(api_key),
            directory=directory,
            trail=trail,
            agreement=FileAgreement(state / "leases"),
            secrets=FileSecrets(state / "secrets.json"),
        )
        stack.callback(plane.close)
        listener = listen.Listener(plane.app, host, port)
        loops = [asyncio.create_task(plane.renewal.run()), asyncio.create_task(_keep(trail, state / "audit.jsonl"))]
        await listener.start()
        listen.settle()
        mode = "leased" if leased else "direct"
        print(
            f"tsp_sandbox ready: http://{host}:{listener.port} tenants={','.join(tenants)} mode={mode} state={state}",
            flush=True,
        )
        await listen.stopped()
        await listener.stop()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await plane.leases.journal.drained()


async def _keep(trail: SpoolTrail, path: Path) -> None:
    """Move what was recorded into one readable file: the sandbox has no SIEM. Requests do not wait for that file."""
    while True:
        for queue in await trail.queues():
            more = True
            while more:
                more = await asyncio.to_thread(_move, trail, queue, path)
                await asyncio.sleep(_PAUSE)  # a request meets one slice on its way, not ten in a row
        await asyncio.sleep(_SHIP_SECONDS)


def _move(trail: SpoolTrail, queue: str, path: Path) -> bool:
    """One slice of the queue: whether there may be more. A long one in pieces, between which the spool is free."""
    left = max(_AT_ONCE, trail.pending // 8)
    with path.open("ab") as file:
        while left > 0 and (found := trail.lines(queue, min(left, _PIECE))):
            file.write(b"".join([line + b"\n" for _, line in found]))
            file.flush()
            trail.forget(queue, [key for key, _ in found])
            left -= len(found)
    return left <= 0
