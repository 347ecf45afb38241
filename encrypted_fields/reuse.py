"""Data keys kept for a moment, only on request: bounded in seconds and uses, each use reported, wiped at the end.

    with reuse_keys(seconds=30, uses=10):       # or `async with`
        ...

Within the block a key that the proxy gave out opens its values again without another call; with `rows_per_key` a new
one seals as many new rows. The customer sees each such use: they are reported when `seconds` have passed, at the latest
at the end of the block. While a report is owed, nothing of that tenant is reused. A withdrawal is noticed after at most
`seconds`, or with the next refusal at once.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Iterable
from contextvars import ContextVar, Token
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple, Self

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe

from encrypted_fields import client, index_keys
from encrypted_fields.conf import BATCH
from encrypted_fields.core.aead import KEY_BYTES, ValueKey
from encrypted_fields.core.errors import WITHDRAWN, CmkError
from encrypted_fields.core.memory import SecretBytes, wipe
from encrypted_fields.core.protocol import Metadata, Uses

log = logging.getLogger(__name__)
MOST_SECONDS = 60.0
MOST_USES = 10_000
MOST_KEYS = 10_000
MOST_ROWS = 1_000
_IN_A_PAGE = 127  # keys that one locked page holds beside its mark
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
        self._pages: list[SecretBytes] = []
        self._free: list[int] = []
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
            if _now() < kept.until and not self._is_wiped(kept):
                lent = Lent(ValueKey(self._view(kept.slot)), edek, min(count, kept.left))
            if lent is not None and lent.rows < kept.left:
                self._sealing[_who(about)] = edek, kept._replace(left=kept.left - lent.rows)
            else:
                self._free_slot(kept)
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
                    self._free_slot(before)
                self._sealing[_who(about)] = edek, self._copy(dek, rows)

    def drop(self, tenant: str) -> None:
        with self._lock:
            for name in [name for name in self._kept if name[0] == tenant]:
                self._drop(name)
            for who in [who for who in self._sealing if who[0] == tenant]:
                self._free_slot(self._sealing.pop(who)[1])

    def close(self) -> None:
        """Wipe every key."""
        with self._lock:
            self.closed = True
            self._kept.clear()
            self._sealing.clear()
            for page in self._pages:
                page.wipe()

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
        if not self._free:
            self._pages.append(SecretBytes(_IN_A_PAGE * KEY_BYTES))
            last = len(self._pages) * _IN_A_PAGE
            self._free.extend(range(last - _IN_A_PAGE, last))
        slot = self._free.pop()
        self._view(slot)[:] = dek
        return _Kept(slot, _now() + self._seconds, uses)

    def _is_wiped(self, kept: _Kept) -> bool:
        return self._pages[kept.slot // _IN_A_PAGE].wiped  # at the end, and in a forked child

    def _opened(self, name: tuple[str, bytes], now: float) -> ValueKey | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if now >= kept.until or self._is_wiped(kept):
            self._drop(name)
            return None
        key = ValueKey(self._view(kept.slot))
        if kept.left <= 1:
            self._drop(name)
        else:
            self._kept[name] = kept._replace(left=kept.left - 1)
        return key

    def _drop(self, name: tuple[str, bytes]) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._free_slot(kept)

    def _free_slot(self, kept: _Kept) -> None:
        if not self._is_wiped(kept):
            wipe(self._view(kept.slot))
            self._free.append(kept.slot)

    def _view(self, slot: int) -> memoryview:
        start = slot % _IN_A_PAGE * KEY_BYTES
        return self._pages[slot // _IN_A_PAGE].view()[start : start + KEY_BYTES]

    def __repr__(self) -> str:
        return f"<KeyRing {'closed' if self.closed else len(self._kept)}>"


_rings: weakref.WeakSet[KeyRing] = weakref.WeakSet()
_rings_lock = threading.Lock()
_active: ContextVar[KeyRing | None] = ContextVar("cmk_key_ring", default=None)
_owed: list[tuple[Metadata, dict[bytes, Uses]]] = []
_owed_lock = threading.Lock()


class reuse_keys:  # noqa: N801 - used like a function, as contextlib's own
    """`seconds`: at most 60, counted from when the proxy gave the key out. `uses`: how often it may open again.
    `rows_per_key`: how many new rows of a tenant and label one key seals. They open with one another from then on."""

    def __init__(self, *, seconds: float, uses: int, rows_per_key: int = 1) -> None:
        if not 0 < seconds <= MOST_SECONDS:
            raise ValueError(f"keys are kept for more than 0 and at most {MOST_SECONDS:.0f} seconds")
        if not 1 <= uses <= MOST_USES:
            raise ValueError(f"a kept key is used 1 to {MOST_USES} times")
        if not 1 <= rows_per_key <= MOST_ROWS:
            raise ValueError(f"a new key seals 1 to {MOST_ROWS} rows")
        self._bounds = seconds, uses, rows_per_key
        self._ring: KeyRing | None = None
        self._token: Token[KeyRing | None] | None = None

    @async_unsafe("reuse_keys reports to the proxy at its end: in a coroutine use `async with reuse_keys(…)`")
    def __enter__(self) -> KeyRing:
        return self._begin()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._end().report()

    async def __aenter__(self) -> KeyRing:
        return self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await sync_to_async(self._end().report, thread_sensitive=False)()

    def _begin(self) -> KeyRing:
        if self._ring is not None:
            raise RuntimeError("one reuse_keys() is one block: make another")
        self._ring = KeyRing(*self._bounds)
        self._token = _active.set(self._ring)
        return self._ring

    def _end(self) -> KeyRing:
        ring, token = self._ring, self._token
        if ring is None or token is None:
            raise RuntimeError("reuse_keys() ends where it began")
        _active.reset(token)
        ring.close()  # first: whatever happens to the report, the keys are gone
        return ring

    def __copy__(self) -> Self:
        raise TypeError("a block that keeps keys cannot be copied")


def active() -> KeyRing | None:
    return _active.get()


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
