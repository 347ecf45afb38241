"""Data keys kept for a moment, only on request: bounded in seconds and uses, each use reported, wiped at the end.

    with reuse_keys(seconds=30, uses=10):       # or `async with`
        ...

Within the block a key that the proxy gave out opens its values again without another call; with `rows_per_key` a new
one seals as many new rows. The customer sees each such use: they are reported when `seconds` have passed, at the latest
at the end of the block. While a report is owed, nothing of that tenant is reused. A withdrawal is noticed after at most
`seconds`, or with the next refusal at once.
"""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import Self

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe

from encrypted_fields.key_ring import KeyRing, current

MOST_SECONDS = 60.0
MOST_USES = 10_000
MOST_ROWS = 1_000


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
        self._token = current.set(self._ring)
        return self._ring

    def _end(self) -> KeyRing:
        ring, token = self._ring, self._token
        if ring is None or token is None:
            raise RuntimeError("reuse_keys() ends where it began")
        current.reset(token)
        ring.close()  # first: whatever happens to the report, the keys are gone
        return ring

    def __copy__(self) -> Self:
        raise TypeError("a block that keeps keys cannot be copied")
