"""One leased key in memory, and the arithmetic of how long it may be used. R-2, R-26, house decision 5."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import sha256

from msgspec import Struct

from encrypted_fields.core.memory import SecretBytes
from tsp import edek
from tsp.contract.tenant import Leasing

IDLE_SECONDS = 3600.0  # a key that nobody used for so long is not renewed: a seldom reader has its hour too
EPOCH_SECONDS = 30 * 86_400
FALLBACK_SECONDS = 30.0  # how long after the due time a process leaves the renewal to the workers
_RETRY, _RETRY_MOST = 10.0, 60.0
_LONGEST_PAUSE = 300.0  # whatever a throttling key service asks for


class Moment(Struct, frozen=True):
    """One instant on both clocks, in seconds: since boot, and since 1970."""

    boot: float
    wall: float


def life(leasing: Leasing) -> float:
    """Seconds after the start of its last proof that a key may be used. `hold` 0: a proof is good for `renew`."""
    return float(max(leasing.renew, leasing.hold))


def next_renewal(leasing: Leasing) -> float:
    """Seconds from a proof to the next one: a little less than `renew`, and early enough before the key's life ends.

    Never more than `renew`: with the 30 s that a process waits for a worker, a refusal is heard within 330 s (R-5).
    """
    return min(leasing.renew * random.uniform(0.9, 0.99), life(leasing) * random.uniform(0.7, 0.8))  # noqa: S311


def next_retry(failures: int) -> float:
    """Seconds to wait after the `failures`-th failed proof in a row: 10 s doubled, at most 60 s, full jitter."""
    return random.uniform(0.5, min(_RETRY * 2 ** min(failures, 8) / 2, _RETRY_MOST))  # noqa: S311


def epoch(place: str, wall: float) -> tuple[int, float]:
    """(number, end in wall seconds) of the 30 days a tenant key is in; each `place` turns over at its own time."""
    offset = int.from_bytes(sha256(place.encode()).digest()[:4], "big") % EPOCH_SECONDS
    number = int((wall + offset) // EPOCH_SECONDS)
    return number, float((number + 1) * EPOCH_SECONDS - offset)


class Lease:
    """A LEK and its last proof: the start of the last key service unwrap of this very ELEK that succeeded.

    `due` is when its next proof is wanted, `retry` when it may be asked for, `used` when it last served: boot seconds.
    """

    __slots__ = (
        "_head", "_tail", "busy", "config", "digest", "due", "elek", "failures", "info", "leasing", "lek", "proof",
        "retry", "skewed", "tenant", "used", "vendor",
    )  # fmt: skip

    def __init__(self, vendor: str, tenant: str, config: int, elek: bytes, lek: SecretBytes, leasing: Leasing) -> None:
        self.vendor = vendor
        self.tenant = tenant
        self.config = config
        self.elek = elek
        self.digest = sha256(elek).digest()
        self.lek = lek
        self.leasing = leasing
        self.info = edek.lease_info(vendor, tenant, config, self.digest)
        self._head, self._tail = edek.leased_frame(config, elek)
        self.proof = Moment(float("-inf"), float("-inf"))
        self.due = self.retry = self.used = 0.0
        self.failures = 0
        self.busy = False  # a renewal of it is on its way
        self.skewed = False  # a proof came from the future: this process believes only itself from then on

    def usable(self, now: Moment) -> bool:
        """Whether both clocks still allow it. A wall clock set back gains nothing: the boot clock goes on."""
        leasing, proof = self.leasing, self.proof
        allowed = leasing.hold if leasing.hold > leasing.renew else leasing.renew  # life(), for every request
        return now.boot - proof.boot <= allowed and now.wall - proof.wall <= allowed and not self.lek.wiped

    def proved(self, at: Moment) -> None:
        """Take a proof that started `at`; one that is older than the last changes nothing."""
        if at.boot < self.proof.boot:
            return
        self.proof, self.failures = at, 0
        self.due = self.retry = at.boot + next_renewal(self.leasing)

    def failed(self, boot: float, pause: float = 0.0) -> None:
        """A proof was tried and nobody answered: hold on, and try again after `pause` seconds at least, 300 at most."""
        self.failures += 1
        self.retry = boot + max(next_retry(self.failures), min(pause, _LONGEST_PAUSE))

    def wrap(self, dek: bytes | bytearray, place: str = "") -> tuple[bytes, bytes]:
        """(EDEK, its content) for `dek`, or for the tenant secret of `place`. Only right after `usable` said yes."""
        return self.wrap_many([dek], place)[0]

    def wrap_many(self, deks: Sequence[bytes | bytearray], place: str = "") -> list[tuple[bytes, bytes]]:
        """`wrap` for each of `deks`."""
        head, tail = self._head, self._tail
        return [(head + made + tail, made) for made in edek.seal_many(self.lek.view(), self._info(place), deks)]

    def unwrap(self, content: bytes, place: str = "") -> bytes:
        """The DEK in `content`; KmsUnwrapFailed if it is not of this lease. Only right after `usable` said yes."""
        return edek.open_leased(self.lek.view(), self._info(place), content)

    def unwrap_many(self, contents: Sequence[bytes]) -> list[bytes | None]:
        """`unwrap` for each of `contents`, which all are leased ones; None where that fails."""
        return edek.open_many(self.lek.view(), self.info, contents)

    def _info(self, place: str) -> bytes:
        if not place:
            return self.info
        return edek.lease_info(self.vendor, self.tenant, self.config, self.digest, place)

    def __repr__(self) -> str:
        return f"<Lease of config {self.config}>"
