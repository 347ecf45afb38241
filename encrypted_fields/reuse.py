"""Data keys kept for a moment, only on request: bounded in seconds and uses, each use reported, wiped at the end.

    with reuse_keys(seconds=30, uses=10):       # or `async with`
        ...

Within the block a key that the proxy gave out opens its values again without another call. The customer sees each such
use: they are reported when `seconds` have passed, at the latest at the end of the block. While a report is owed,
nothing of that tenant is reused. A withdrawal is noticed after at most `seconds`, or with the next refusal at once.
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
from encrypted_fields.core.protocol import Metadata

log = logging.getLogger(__name__)
MOST_SECONDS = 60.0
MOST_USES = 10_000
MOST_KEYS = 10_000
_IN_A_PAGE = 127  # keys that one locked page holds beside its mark
_clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


class _Kept(NamedTuple):
    slot: int
    until: float
    left: int


class KeyRing:
    """The kept keys of one block. Safe in threads; a forked child finds it empty."""

    def __init__(self, seconds: float, uses: int) -> None:
        self._seconds, self._uses = seconds, uses
        self._lock = threading.Lock()
        self._pages: list[SecretBytes] = []
        self._free: list[int] = []
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        self._used: dict[Any, tuple[Metadata, dict[bytes, int]]] = {}
        self._oldest: float | None = None
        self.closed = False
        with _rings_lock:
            _rings.add(self)

    def take(self, about: Metadata, edeks: Iterable[bytes]) -> dict[bytes, ValueKey]:
        """The keys of `edeks` that are kept for this very tenant; each counts as used once."""
        with self._lock:
            late = self._oldest is not None and _now() - self._oldest >= self._seconds
        if late:
            self.report()
        if not _paid(about.tenant):
            return {}
        found: dict[bytes, ValueKey] = {}
        with self._lock:
            now = _now()
            for edek in edeks:
                key = self._opened((about.tenant, edek), now)
                if key is not None:
                    found[edek] = key
            if found:
                self._oldest = now if self._oldest is None else self._oldest
                _, counts = self._used.setdefault(_who(about), (replace(about, object_id=None), {}))
                for edek in found:
                    counts[edek] = counts.get(edek, 0) + 1
        return found

    def keep(self, tenant: str, edek: bytes, dek: bytearray) -> None:
        """A copy of `dek`, which stays the caller's to wipe."""
        with self._lock:
            if self.closed or len(self._kept) >= MOST_KEYS or len(dek) != KEY_BYTES:
                return
            self._drop((tenant, edek))
            if not self._free:
                self._pages.append(SecretBytes(_IN_A_PAGE * KEY_BYTES))
                last = len(self._pages) * _IN_A_PAGE
                self._free.extend(range(last - _IN_A_PAGE, last))
            slot = self._free.pop()
            self._view(slot)[:] = dek
            self._kept[tenant, edek] = _Kept(slot, _now() + self._seconds, self._uses)

    def drop(self, tenant: str) -> None:
        with self._lock:
            for name in [name for name in self._kept if name[0] == tenant]:
                self._drop(name)

    def close(self) -> None:
        """Wipe every key."""
        with self._lock:
            self.closed = True
            self._kept.clear()
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

    def _opened(self, name: tuple[str, bytes], now: float) -> ValueKey | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if now >= kept.until or self._pages[kept.slot // _IN_A_PAGE].wiped:  # wiped: in a forked child
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
        if kept is not None and not self._pages[kept.slot // _IN_A_PAGE].wiped:
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
_owed: list[tuple[Metadata, dict[bytes, int]]] = []
_owed_lock = threading.Lock()


class reuse_keys:  # noqa: N801 - used like a function, as contextlib's own
    """`seconds`: at most 60, counted from when the proxy gave the key out. `uses`: how often it may open again."""

    def __init__(self, *, seconds: float, uses: int) -> None:
        if not 0 < seconds <= MOST_SECONDS:
            raise ValueError(f"keys are kept for more than 0 and at most {MOST_SECONDS:.0f} seconds")
        if not 1 <= uses <= MOST_USES:
            raise ValueError(f"a kept key is used 1 to {MOST_USES} times")
        self._seconds, self._uses = seconds, uses
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
        self._ring = KeyRing(self._seconds, self._uses)
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


def _report(about: Metadata, counts: dict[bytes, int]) -> bool:
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
