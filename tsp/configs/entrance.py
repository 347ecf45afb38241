"""The way of new records into service: checked, tried out, kept, then switched on. T-4, T-5, T-6, R-14, R-32."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from encrypted_fields.core.errors import AuditUnavailable
from tsp.config_feed import Result
from tsp.configs import admission
from tsp.configs.active import ActiveKms, ActiveSiem
from tsp.configs.admission import Active, Mark, Refused
from tsp.configs.news import News
from tsp.configs.roster import Roster
from tsp.configs.shared_marks import SharedMarks
from tsp.configs.shelf import Marked, Shelf, marked
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.contract.sealed import Record
from tsp.egress import Egress
from tsp.unseal import PrivateKeys

_TRIALS = 32  # at the same time
_TRIAL_SECONDS = 30.0
_LONGEST = 60.0  # between two tries of the same record
_CLOSE_SECONDS = 60.0  # requests that still use a replaced adapter have ended by then
_log = logging.getLogger("tsp.configs")


@dataclass(slots=True)
class _Waiting:
    """A record that is tried again from `due` (monotonic). Its adapter is kept: an HSM counts wrong logins (R-8)."""

    record: Record
    active: Active | None = None
    tries: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Checks:
    """What a record is checked with."""

    vendor: str
    keys: PrivateKeys
    egress: Egress
    allow_local: bool


class Entrance:
    """Takes groups of records of one configuration each; `results` collects what became of them."""

    def __init__(self, checks: Checks, roster: Roster, shelf: Shelf, shared: SharedMarks | None, news: News) -> None:
        self._checks, self._roster, self._shelf, self._shared, self._news = checks, roster, shelf, shared, news
        self._waiting: dict[Marked, _Waiting] = {}
        self._pool = ThreadPoolExecutor(_TRIALS, thread_name_prefix="config-trial")
        self._to_keep: list[tuple[Record, asyncio.Future[None]]] = []
        self._keeping = asyncio.Lock()
        self._refusals: dict[Marked, tuple[Record, str]] = {}
        self.results: dict[tuple[str, int], Result] = {}
        self.leasing_required: frozenset[str] = frozenset()  # tenants; for new records, what serves goes on

    def restore(self) -> None:
        """Put the last good records back into service: they were tried out when they were new (R-13). Blocking."""
        for record in self._shelf.records():
            try:
                self._serve(record, self._made(record, []))
            except Refused as refused:
                self._say(record, refused.reason)
        self._roster.switch(self._shelf.disabled)
        self._waiting = {marked(record): _Waiting(record) for record in self._shelf.waiting()}

    async def take(self, records: Sequence[Record]) -> None:
        """New records, oldest first. Groups do not wait for each other: one tenant cannot hold up another (R-14)."""
        groups: dict[Marked, list[Record]] = {}
        for record in records:
            groups.setdefault(marked(record), []).append(record)
        shared = await self._shared.get(groups) if self._shared else {}
        await asyncio.gather(*(self._take(key, group, shared.get(key)) for key, group in groups.items()))

    def due(self) -> list[Record]:
        """What could not be taken before and is to be tried again now."""
        now = time.monotonic()
        return [waiting.record for waiting in self._waiting.values() if waiting.due <= now]

    async def again(self, due: Sequence[Record]) -> None:
        """Try those of `due` that nothing newer has replaced meanwhile."""
        wanted = {id(record) for record in due}
        left = {key: w.record for key, w in self._waiting.items() if id(w.record) in wanted}
        shared = await self._shared.get(left) if self._shared and left else {}
        await asyncio.gather(*(self._admit(record, shared.get(key)) for key, record in left.items()))

    async def switch(self, disabled: frozenset[int]) -> None:
        """Switch off exactly `disabled`. A SIEM that goes off is told first; one that cannot be told stays on."""
        for name in self._roster.touched(disabled):
            try:
                await self._farewell(name, None, disabled)
            except AuditUnavailable:
                siem = self._roster.tenant(name).siem
                disabled = disabled - ({siem.config} if siem else set())
        self._roster.switch(disabled)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _take(self, key: Marked, group: Sequence[Record], shared: Mark | None) -> None:
        """Refuse the old ones, check the chain of the others, and admit the newest, which replaces them all."""
        own = self._shelf.marks.get(key)
        newest: Record | None = None
        for record in group:
            try:
                marks = [mark for mark in (own, _mark(newest)) if mark is not None]
                admission.read(record, marks, vendor=self._checks.vendor, keys=self._checks.keys)
                newest = record
            except Refused as refused:
                await self._refuse(record, refused.reason)
        if newest is not None:
            await self._admit(newest, shared)

    async def _admit(self, record: Record, shared: Mark | None) -> None:
        key, own = marked(record), self._shelf.marks.get(marked(record))
        serving = self._roster.accepted(record.tenant, record.config)
        if own == _mark(record) and serving is not None and serving.version == record.version:
            return
        waiting = self._waiting.get(key)
        if waiting is None or waiting.record != record:
            waiting = _Waiting(record)
        try:
            await self._pass(record, waiting, own, shared)
        except Refused as refused:
            # another proxy may have accepted a version that our page did not hold yet: a replay only if it never comes
            early = refused.reason == "replayed" and waiting.tries == 0
            if refused.again or early:
                await self._wait(key, waiting, refused.reason)
            elif self._waiting.pop(key, None) is not None:
                await asyncio.to_thread(self._shelf.wait, key, None)
            if not early:
                await self._refuse(record, refused.reason)
        else:
            if self._waiting.pop(key, None) is not None:
                await asyncio.to_thread(self._shelf.wait, key, None)
            self._say(record)

    async def _pass(self, record: Record, waiting: _Waiting, own: Mark | None, shared: Mark | None) -> None:
        marks = [mark for mark in (own, shared) if mark is not None]
        made = self._made(record, marks)
        active = waiting.active = waiting.active or made
        if record.tenant in self.leasing_required and isinstance(active, ActiveKms) and not active.leasing.enabled:
            raise Refused("leasing_required")
        action = events.CONFIG_ACCEPTED if marks else events.CONFIG_FIRST_SEEN
        if self._replaced(record.tenant, active, self._roster.disabled):
            action = events.SIEM_CHANGED
        event = self._news.event(record.tenant, action, record.config, record.version)
        known = _mark(record) in marks  # tried out before, here or by another proxy
        if not known:
            await self._try_out(record, active, event)
        try:
            await self._farewell(record.tenant, active, self._roster.disabled)
            await self._keep(record)
        except AuditUnavailable:
            raise Refused("audit_unavailable") from None
        self._serve(record, active)
        if not known:
            await self._news.tell(event)

    def _made(self, record: Record, marks: Sequence[Mark]) -> Active:
        document = admission.read(record, marks, vendor=self._checks.vendor, keys=self._checks.keys)
        return admission.activate(document, self._checks.egress, allow_local=self._checks.allow_local)

    async def _try_out(self, record: Record, active: Active, event: AuditEvent) -> None:
        loop = asyncio.get_running_loop()
        trial = loop.run_in_executor(self._pool, admission.try_out, active, self._checks.vendor, record.tenant, event)
        try:
            await asyncio.wait_for(trial, _TRIAL_SECONDS)
        except TimeoutError:
            raise Refused("kms_unreachable" if isinstance(active, ActiveKms) else "siem_unreachable") from None

    async def _farewell(self, name: str, active: Active | None, disabled: Collection[int]) -> None:
        replaced = self._replaced(name, active, disabled)
        if replaced:
            await self._news.farewell(name, *replaced)

    def _replaced(
        self, name: str, active: Active | None, disabled: Collection[int]
    ) -> tuple[ActiveSiem, ActiveSiem | None] | None:
        """The tenant's SIEM and its next one, if `active` accepted and `disabled` switched off change it."""
        old = self._roster.siem_with(name, None, self._roster.disabled)
        new = self._roster.siem_with(name, active, disabled)
        return None if old is None or old is new else (old, new)

    async def _keep(self, record: Record) -> None:
        """On disk and in Redis; those that come while one is being written share the next fsync."""
        done = asyncio.get_running_loop().create_future()
        self._to_keep.append((record, done))
        async with self._keeping:
            batch, self._to_keep = self._to_keep, []
            records = [one for one, _ in batch]
            try:
                if records:
                    await asyncio.to_thread(self._shelf.keep, records)
            except OSError as error:
                _log.error("configurations cannot be kept: %s", error.strerror)
                for _, waiter in batch:
                    waiter.set_exception(Refused("state_not_writable"))
            else:
                for _, waiter in batch:
                    waiter.set_result(None)
                if self._shared and records:
                    await self._shared.put({marked(one): Mark(one.version, one.hash) for one in records})
        await done

    def _serve(self, record: Record, active: Active) -> None:
        old = self._roster.place(record.tenant, active)
        if isinstance(old, ActiveKms):
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, old.close)
        self._say(record)

    async def _wait(self, key: Marked, waiting: _Waiting, reason: str) -> None:
        """The next refresh tries again at first, then ever later; who said no is not asked more than once a minute."""
        soon = 2.5 * 2 ** min(waiting.tries, 5) if waiting.tries else 0.0
        waiting.due = time.monotonic() + (_LONGEST if reason.endswith("_refused") else min(_LONGEST, soon))
        waiting.tries += 1
        self._waiting[key] = waiting
        await asyncio.to_thread(self._shelf.wait, key, waiting.record)

    async def _refuse(self, record: Record, reason: str) -> None:
        """Say so, once for the same record and reason."""
        if self._refusals.get(marked(record)) == (record, reason):
            return
        self._refusals[marked(record)] = record, reason
        self._say(record, reason)
        await self._news.tell(
            self._news.event(record.tenant, events.CONFIG_REFUSED, record.config, record.version, reason)
        )

    def _say(self, record: Record, reason: str = "") -> None:
        result = Result(record.tenant, record.config, record.version, "refused" if reason else "active", reason)
        self.results[record.tenant, record.config] = result


def _mark(record: Record | None) -> Mark | None:
    return None if record is None else Mark(record.version, record.hash)
