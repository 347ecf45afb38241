"""The way to the key services: a bounded pool of threads where no tenant takes more than its share. R-1, R-3, R-4."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from encrypted_fields.core.errors import CmkError, KmsThrottled, KmsUnreachable, Overloaded
from tsp.meter import Durations

TOTAL, PER_KEY = 64, 8
CALL_SECONDS = 2.0  # a direct wrap or unwrap, with its tries
LEASE_SECONDS = 10.0  # one attempt to prove a lease
_TRIES = 4
_PAUSE = 0.05  # seconds, doubled with each try, with full jitter
_LONGEST_THROTTLE = 300.0

Result = TypeVar("Result")
Place = tuple[str, int]  # tenant and KMS configuration


class KmsGate:
    """Runs blocking calls. One that hangs keeps its place until its thread ends, so hung calls cannot pile up."""

    def __init__(self, total: int = TOTAL, per_key: int = PER_KEY) -> None:
        self._pool = ThreadPoolExecutor(total, thread_name_prefix="kms")
        self._total = asyncio.Semaphore(total)
        self._per_key = per_key
        self._places: dict[Place, asyncio.Semaphore] = {}
        self._throttled: dict[Place, float] = {}
        # for the metrics, by (operation, error class or "ok"), and by the provider before them
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[tuple[str, str, str], Durations] = {}
        self.watch: Callable[[str, str, str, float], None] | None = None  # provider, operation, outcome, seconds

    async def call(
        self,
        place: Place,
        operation: str,
        work: Callable[[], Result],
        *,
        seconds: float = CALL_SECONDS,
        tries: int = _TRIES,
        patience: float | None = None,
        provider: str = "",
    ) -> Result:
        """What `work` returns, or its CmkError. `seconds` bound a try; `patience` all tries with the wait for a place.

        KmsUnreachable when the time is over, Overloaded when no place came free. Only "unreachable" is tried again.
        """
        clock = asyncio.get_running_loop().time  # the same that the waits below go by
        deadline = clock() + (seconds if patience is None else patience)
        if self._throttled.get(place, 0.0) > clock():
            raise KmsThrottled  # the key service asked for a pause: asking on would make it longer
        attempt = 0
        while True:
            began = clock()
            try:
                result = await self._once(place, work, deadline, seconds)
            except CmkError as error:
                self._count(operation, type(error).__name__, provider, clock() - began)
                self._hold(place, error)
                attempt += 1
                pause = random.uniform(0, _PAUSE * 2**attempt)  # noqa: S311  jitter, not a secret
                if not isinstance(error, KmsUnreachable) or attempt >= tries or clock() + pause >= deadline:
                    raise
            else:
                self._count(operation, "ok", provider, clock() - began)
                return result
            await asyncio.sleep(pause)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _once(self, place: Place, work: Callable[[], Result], deadline: float, seconds: float) -> Result:
        own = self._places.get(place)
        if own is None:
            own = self._places[place] = asyncio.Semaphore(self._per_key)
        await _take(own, deadline)
        try:
            await _take(self._total, deadline)
        except BaseException:
            own.release()
            raise
        loop = asyncio.get_running_loop()
        left = max(deadline - loop.time(), _PAUSE)
        running = loop.run_in_executor(self._pool, work)

        def leave(_: object) -> None:
            own.release()
            self._total.release()

        running.add_done_callback(leave)
        done, _ = await asyncio.wait({running}, timeout=min(seconds, left))
        if not done:
            running.add_done_callback(_look)
            raise KmsUnreachable
        return running.result()

    def _count(self, operation: str, outcome: str, provider: str, seconds: float) -> None:
        self.outcomes[operation, outcome] += 1
        self.seconds.setdefault((provider, operation, outcome), Durations()).add(seconds)
        if self.watch is not None:
            self.watch(provider, operation, outcome, seconds)

    def _hold(self, place: Place, error: CmkError) -> None:
        if isinstance(error, KmsThrottled):
            pause = min(max(error.retry_after or 1.0, 1.0), _LONGEST_THROTTLE)
            self._throttled[place] = asyncio.get_running_loop().time() + pause


async def _take(semaphore: asyncio.Semaphore, deadline: float) -> None:
    if not semaphore.locked():
        await semaphore.acquire()
        return
    try:
        async with asyncio.timeout_at(deadline):
            await semaphore.acquire()
        return
    except TimeoutError:
        pass
    raise Overloaded("too many calls to this tenant's key service are waiting; slow down and try again")


def _look(late: asyncio.Future[Result]) -> None:
    # Nobody waits for it any more: its outcome is fetched, so that the loop does not log it with its arguments.
    if not late.cancelled():
        late.exception()
