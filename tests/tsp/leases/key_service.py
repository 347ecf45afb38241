"""Tenants' key services with real AES-256-GCM, told how to fail, and keeping a log of what they were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    InvalidCiphertext,
    KmsError,
    KmsRefused,
    KmsThrottled,
    KmsUnreachable,
    KmsUnwrapFailed,
)
from tests.support.virtual_time import takes
from tsp.egress import Egress
from tsp.kms.base import KmsAdapter

LONGEST = 2.0  # what adapters allow themselves for one call, its own tries included
OK, HANG, BROKEN, THROTTLE, REFUSE, CORRUPT = "ok", "hang", "5xx", "throttle", "refuse", "corrupt"
FAULTS = (HANG, BROKEN, THROTTLE)


@dataclass(slots=True)
class Asked:
    """One call: when it came, whose it was, what for, when its reply arrives, and whether that is a success."""

    at: float
    proxy: str
    tenant: str
    operation: str
    blob: bytes
    arrives: float = 0.0
    outcome: str = ""


@dataclass
class KeyService:
    """Modes and delays by tenant. `now` is the world's time."""

    now: Callable[[], float]
    mode: dict[str, str] = field(default_factory=dict)
    delay: dict[str, float] = field(default_factory=dict)
    retry_after: float | None = None
    log: list[Asked] = field(default_factory=list)
    proofs: dict[tuple[str, bytes], list[Asked]] = field(default_factory=dict)  # successful unwraps by (tenant, blob)
    keys: dict[tuple[str, int], ValueKey] = field(default_factory=dict)  # by (tenant, number of the key)
    busiest: int = 0
    pileups: list[bytes] = field(default_factory=list)  # blobs that one proxy asked for while it was already asking
    contexts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _flying: list[tuple[float, str, bytes]] = field(default_factory=list)

    def asked(self, proxy: str, tenant: str, operation: str, blob: bytes) -> tuple[str, Asked]:
        mode = self.mode.get(tenant, OK)
        now = self.now()
        took = LONGEST if mode == HANG else min(self.delay.get(tenant, 0.001), LONGEST)
        takes.set(took)
        call = Asked(now, proxy, tenant, operation, blob, now + took, mode)
        self.log.append(call)
        self._flying = [one for one in self._flying if one[0] > now + 1e-6]
        if operation == "unwrap" and any(one[1:] == (proxy, blob) for one in self._flying):
            self.pileups.append(blob)
        self._flying.append((now + took, proxy, blob if operation == "unwrap" else b""))
        self.busiest = max(self.busiest, len(self._flying))
        return mode, call

    def forget(self, proxy: str) -> None:
        """That process died, and its calls with it."""
        self._flying = [one for one in self._flying if one[1] != proxy]

    def key(self, tenant: str, number: int) -> ValueKey:
        return self.keys.setdefault((tenant, number), ValueKey(sha256(f"{tenant} {number}".encode()).digest()))


class ServiceKms(KmsAdapter):
    """One proxy's way to one tenant's key number `number`."""

    label = "Key service of a test"

    @dataclass(frozen=True, slots=True)
    class Config:
        proxy: str
        tenant: str
        number: int

    def __init__(self, config: Config, service: KeyService) -> None:
        super().__init__(config, Egress())
        self._service = service

    def _wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes:
        mode, _ = self._ask("wrap", b"", context)
        sealed = self._key().seal(bytes(key), context.aad())
        return sealed[:-1] + bytes([sealed[-1] ^ 1]) if mode == CORRUPT else sealed

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        mode, call = self._ask("unwrap", blob, context)
        key = self._key().open(blob, context.aad())
        if mode == CORRUPT:
            return key[:-1] + bytes([key[-1] ^ 1])
        self._service.proofs.setdefault((self.config.tenant, blob), []).append(call)
        return key

    def translate(self, error: Exception) -> KmsError:
        return KmsUnwrapFailed() if isinstance(error, InvalidCiphertext) else KmsUnreachable()

    def _ask(self, operation: str, blob: bytes, context: KeyContext) -> tuple[str, Asked]:
        self._service.contexts[self.config.tenant, context.tenant] += 1
        mode, call = self._service.asked(self.config.proxy, self.config.tenant, operation, blob)
        if mode in (HANG, BROKEN):
            raise KmsUnreachable
        if mode == THROTTLE:
            raise KmsThrottled(retry_after=self._service.retry_after)
        if mode == REFUSE:
            raise KmsRefused
        return mode, call

    def _key(self) -> ValueKey:
        return self._service.key(self.config.tenant, self.config.number)
