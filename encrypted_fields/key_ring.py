"""The keys that one block keeps, and the reports of their uses, which the customer's trail has to have."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple

from encrypted_fields import client, index_keys
from encrypted_fields.conf import BATCH
from encrypted_fields.core.aead import KEY_BYTES, ValueKey
from encrypted_fields.core.errors import WITHDRAWN, CmkError
from encrypted_fields.core.protocol import Metadata, Uses
from encrypted_fields.key_slots import KeySlots

log = logging.getLogger(__name__)
MOST_KEYS = 10_000
_clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


class _Kept(NamedTuple):
    slot: int
    until: float
    left: int


class Lent(NamedTuple):
    """A new key that has sealed rows and may seal `rows` more."""

    key: ValueKey
    edek: bytes
    rows: int


class KeyRing:
    """The kept keys of one block. Safe in threads; a forked child finds it empty."""

    def __init__(self, seconds: float, uses: int, rows_per_key: int = 1) -> None:
        self._seconds, self._uses, self.rows_per_key = seconds, uses, rows_per_key
        self._lock = threading.Lock()
        self._slots = KeySlots()
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        self._sealing: dict[Any, tuple[bytes, _Kept]] = {}  # by who asks, so that each sees the uses of their own
        self._used: dict[Any, tuple[Metadata, dict[bytes, Uses]]] = {}
        self._oldest: float | None = None
        self.closed = False
        with _rings_lock:
            _rings.add(self)

    def take(self, about: Metadata, edeks: Iterable[bytes]) -> dict[bytes, ValueKey]:
        """The keys of `edeks` that are kept for this very tenant; each counts as used once."""
        if not self._told(about.tenant):
            return {}
        found: dict[bytes, ValueKey] = {}
        with self._lock:
            now = _now()
            for edek in edeks:
                key = self._opened((about.tenant, edek), now)
                if key is not None:
                    found[edek] = key
            for edek in found:
                self._count(about, edek, Uses(unwraps=1))
        return found

    def keep(self, tenant: str, edek: bytes, dek: bytearray) -> None:
        """A copy of `dek`, which stays the caller's to wipe."""
        with self._lock:
            if not self._is_full(dek):
                self._drop((tenant, edek))
                self._kept[tenant, edek] = self._copy(dek, self._uses)

    def lend(self, about: Metadata, count: int) -> Lent | None:
        """The key that last sealed new rows for whoever asks, for up to `count` more: tell `sealed` about them."""
        if not self._told(about.tenant):
            return None
        with self._lock:
            edek, kept = self._sealing.pop(_who(about), (b"", None))
            if kept is None:
                return None
            lent = None
            if _now() < kept.until and not self._slots.is_wiped(kept.slot):
                lent = Lent(ValueKey(self._slots.view(kept.slot)), edek, min(count, kept.left))
            if lent is not None and lent.rows < kept.left:
                self._sealing[_who(about)] = edek, kept._replace(left=kept.left - lent.rows)
            else:
                self._slots.free(kept.slot)
            return lent

    def sealed(self, about: Metadata, edek: bytes, rows: int) -> None:
        """This key has sealed so many rows without asking."""
        with self._lock:
            self._count(about, edek, Uses(wraps=rows))

    def keep_sealing(self, about: Metadata, edek: bytes, dek: bytearray, rows: int) -> None:
        """A copy of `dek` for `rows` more new rows."""
        with self._lock:
            if not self._is_full(dek):
                _, before = self._sealing.pop(_who(about), (b"", None))
                if before is not None:
                    self._slots.free(before.slot)
                self._sealing[_who(about)] = edek, self._copy(dek, rows)

    def drop(self, tenant: str) -> None:
        with self._lock:
            for name in [name for name in self._kept if name[0] == tenant]:
                self._drop(name)
            for who in [who for who in self._sealing if who[0] == tenant]:
                self._slots.free(self._sealing.pop(who)[1].slot)

    def close(self) -> None:
        """Wipe every key."""
        with self._lock:
            self.closed = True
            self._kept.clear()
            self._sealing.clear()
            self._slots.wipe()

    def report(self) -> None:
        """Tell the tenants' trails about the uses so far. What cannot be told now is owed, and told first next time."""
        with self._lock:
            used, self._used, self._oldest = self._used, {}, None
        for about, counts in used.values():
            edeks = list(counts)
            for start in range(0, len(edeks), BATCH):
                part = {edek: counts[edek] for edek in edeks[start : start + BATCH]}
                _report(about, part)

    def _told(self, tenant: str) -> bool:
        """Whether the trail knows of all uses that are due."""
        with self._lock:
            late = self._oldest is not None and _now() - self._oldest >= self._seconds
        if late:
            self.report()
        return _paid(tenant)

    def _count(self, about: Metadata, edek: bytes, uses: Uses) -> None:
        self._oldest = _now() if self._oldest is None else self._oldest
        _, counts = self._used.setdefault(_who(about), (replace(about, object_id=None), {}))
        before = counts.get(edek, Uses())
        counts[edek] = Uses(before.wraps + uses.wraps, before.unwraps + uses.unwraps)

    def _is_full(self, dek: bytearray) -> bool:
        return self.closed or len(self._kept) + len(self._sealing) >= MOST_KEYS or len(dek) != KEY_BYTES

    def _copy(self, dek: bytearray, uses: int) -> _Kept:
        return _Kept(self._slots.put(dek), _now() + self._seconds, uses)

    def _opened(self, name: tuple[str, bytes], now: float) -> ValueKey | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if now >= kept.until or self._slots.is_wiped(kept.slot):
            self._drop(name)
            return None
        key = ValueKey(self._slots.view(kept.slot))
        if kept.left <= 1:
            self._drop(name)
        else:
            self._kept[name] = kept._replace(left=kept.left - 1)
        return key

    def _drop(self, name: tuple[str, bytes]) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._slots.free(kept.slot)

    def __repr__(self) -> str:
        return f"<KeyRing {'closed' if self.closed else len(self._kept)}>"


_rings: weakref.WeakSet[KeyRing] = weakref.WeakSet()
_rings_lock = threading.Lock()
current: ContextVar[KeyRing | None] = ContextVar("cmk_key_ring", default=None)
_owed: list[tuple[Metadata, dict[bytes, Uses]]] = []
_owed_lock = threading.Lock()


def refused(tenant: str) -> None:
    """The tenant's key service said no: nobody in this process keeps its keys any longer."""
    index_keys.forget(tenant)
    with _rings_lock:
        rings = list(_rings)
    for ring in rings:
        ring.drop(tenant)


def _report(about: Metadata, counts: dict[bytes, Uses]) -> bool:
    """True when the trail has it. Otherwise it is owed."""
    try:
        client.current().report_operations(about, counts)
    except CmkError as error:
        if isinstance(error, WITHDRAWN):
            refused(about.tenant)
        log.error("uses of %d kept keys of tenant %s are not reported yet: %s", len(counts), about.tenant, error)
        with _owed_lock:
            _owed.append((about, counts))
        return False
    return True


def _paid(tenant: str) -> bool:
    """Whether nothing is owed to this tenant's trail, after trying to settle it."""
    if not _owed:
        return True
    with _owed_lock:
        mine = [entry for entry in _owed if entry[0].tenant == tenant]
        _owed[:] = [entry for entry in _owed if entry[0].tenant != tenant]
    unpaid = [entry for entry in mine if not _report(*entry)]
    return not unpaid


def _who(about: Metadata) -> Any:
    return (
        about.tenant,
        about.requesting_id,
        about.data_label,
        about.source_ip,
        about.request_id,
        tuple(sorted(about.custom.items())),
    )


def _now() -> float:
    return time.clock_gettime(_clock)
