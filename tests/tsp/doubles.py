"""Doubles of the data plane's neighbours: real cryptography; key services that refuse, hang and lie on demand."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    AuditUnavailable,
    InvalidCiphertext,
    KmsConfigDisabled,
    KmsError,
    KmsUnreachable,
    KmsUnwrapFailed,
    NoPrimaryKms,
    UnknownTenant,
)
from tsp.auth import ApiKeys, Scoped
from tsp.contract.events import AuditEvent
from tsp.contract.tenant import Leasing
from tsp.derive import SecretStore
from tsp.egress import Egress
from tsp.kms.base import KmsAdapter
from tsp.leases.agreement import Agreement, FileAgreement
from tsp.leases.renewal import Notices
from tsp.limits import Limits
from tsp.plane import Plane, build
from tsp.secret_file import FileSecrets

VENDOR = "acme"
API_KEY = "dGhlLXJpZ2h0LWFwaS1rZXk="


class ManualClock:
    """Both clocks stand still until a test moves them, together or one alone."""

    def __init__(self) -> None:
        self._boot, self._wall = 1_000.0, 1_800_000_000.0

    def boot(self) -> float:
        return self._boot

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        self._boot += seconds
        self._wall += seconds

    def set_wall(self, seconds: float) -> None:
        """Somebody moves the wall clock by `seconds`."""
        self._wall += seconds


class FaultyKms(KmsAdapter):
    """AES-256-GCM under its own key. `failure` is raised by each call, `hold` lets calls wait, `flip` spoils wraps."""

    Config = dict
    label = "test"

    def __init__(self) -> None:
        super().__init__({}, Egress())
        self._key = ValueKey(os.urandom(32))
        self.failure: KmsError | None = None
        self.failures: list[KmsError | None] = []
        self.hold = threading.Event()
        self.hold.set()
        self.flip = False
        self.seconds = 0.0  # that each call takes
        self.calls: list[str] = []
        self.running = self.most = 0
        self._lock = threading.Lock()

    def _wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes:
        self._fault("wrap")
        plain = bytearray(key)
        if self.flip:
            plain[0] ^= 1
        return self._key.seal(bytes(plain), context.aad())

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        self._fault("unwrap")
        return self._key.open(blob, context.aad())

    def translate(self, error: Exception) -> KmsError:
        return KmsUnwrapFailed() if isinstance(error, InvalidCiphertext) else KmsUnreachable()

    def _fault(self, call: str) -> None:
        with self._lock:
            self.calls.append(call)
            self.running += 1
            self.most = max(self.most, self.running)
            once = self.failures.pop(0) if self.failures else None
        self.hold.wait(20)
        time.sleep(self.seconds)
        with self._lock:
            self.running -= 1
        if once or self.failure:
            raise once or self.failure  # type: ignore[misc]


@dataclass(eq=False)
class FakeKms:
    config: int
    adapter: FaultyKms = field(default_factory=FaultyKms)
    leasing: Leasing = field(default_factory=Leasing)
    version: int = 1


@dataclass(eq=False)
class FakeTenant:
    name: str
    kms: list[FakeKms]
    vendor: str = VENDOR
    has_primary: bool = True

    def primary(self) -> Any:
        if not self.has_primary:
            raise NoPrimaryKms
        return self.kms[-1]

    def kms_for(self, config: int) -> Any:
        for one in self.kms:
            if one.config == config:
                return one
        raise KmsConfigDisabled


class Tenants:
    """A Directory that tests change at will."""

    def __init__(self, *tenants: FakeTenant) -> None:
        self.by_name = {tenant.name: tenant for tenant in tenants}

    def tenant(self, name: str) -> Any:
        if name not in self.by_name:
            raise UnknownTenant
        return self.by_name[name]


class MemoryTrail:
    """Keeps events in `events`. `full` refuses them; `then` runs while they are being recorded."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.full = False
        self.then: Any = None

    async def record(self, events: Sequence[AuditEvent]) -> None:
        if self.full:
            raise AuditUnavailable
        self.events += events
        if self.then is not None:
            self.then()

    def of(self, action: str) -> list[AuditEvent]:
        return [event for event in self.events if event.action == action]


@dataclass
class World:
    """A data plane with its doubles."""

    plane: Plane
    tenants: Tenants
    trail: MemoryTrail
    clock: ManualClock

    def kms(self, tenant: str = "a") -> FakeKms:
        return self.tenants.by_name[tenant].kms[-1]


def world(
    folder: Path,
    *,
    leasing: Leasing = Leasing(),  # noqa: B008  frozen
    agreement: Agreement | None = None,
    notices: Notices | None = None,
    secrets: SecretStore | None = None,
    tenants: Tenants | None = None,
    clock: ManualClock | None = None,
    limits: Limits = Limits(),  # noqa: B008  frozen
    scoped: Scoped | None = None,
) -> World:
    """Tenants "a" (config 11) and "b" (config 22), each with a key service of its own."""
    found = tenants or Tenants(
        FakeTenant("a", [FakeKms(11, leasing=leasing)]), FakeTenant("b", [FakeKms(22, leasing=leasing)])
    )
    trail, times = MemoryTrail(), clock or ManualClock()
    plane = build(
        vendor=VENDOR,
        name="tsp-1",
        keys=ApiKeys(API_KEY, scoped=scoped),
        directory=found,
        trail=trail,
        agreement=agreement or FileAgreement(folder / "leases"),
        secrets=secrets or FileSecrets(folder / "secrets.json"),
        notices=notices,
        clock=times,
        limits=limits,
    )
    return World(plane, found, trail, times)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: Any,
    route: str,
    body: Any = None,
    *,
    key: str | None = f"cmk {API_KEY}",
    method: str = "POST",
    path: str = "",
    chunks: int = 1,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Reply:
    """One request to an ASGI application. `body` is JSON, or bytes as they are; it arrives in so many `chunks`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = -(-len(data) // chunks) or 1
    parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    sent: list[dict[str, Any]] = []
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        if read >= len(parts):
            return {"type": "http.disconnect"}
        read += 1
        return {"type": "http.request", "body": parts[read - 1], "more_body": read < len(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = [(b"authorization", key.encode())] if key is not None else []
    scope = {"type": "http", "method": method, "path": path or f"/api/1/{route}", "headers": [*given, *headers]}
    await app(scope, receive, send)
    answer = Reply(sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:]))
    return Reply(answer.status, {**answer.headers, b"read": str(read).encode()}, answer.body)


def request(tenant: str = "a", **more: Any) -> dict[str, Any]:
    """A body with the least metadata."""
    return {"tenantId": tenant, "iclFields": {"requestingId": "user-1"}, "customFields": {}, **more}
