"""All tenants of this proxy, kept up to date from the portal's feed; the last good version of each goes on serving."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from tsp.audit.queue import Mailbox, WhenFull
from tsp.config_feed import Feed, FeedError, Page
from tsp.configs import admission
from tsp.configs.active import ActiveSiem, Tenant
from tsp.configs.admission import Refused
from tsp.configs.entrance import Checks, Entrance
from tsp.configs.expiry import Expiry
from tsp.configs.news import News
from tsp.configs.roster import Roster
from tsp.configs.shared_marks import SharedMarks
from tsp.configs.shelf import Shelf
from tsp.contract.tenant import Document
from tsp.egress import Egress
from tsp.siem.base import Sink
from tsp.unseal import PrivateKeys

_REPORT_SECONDS = 60.0
_ALARM_SECONDS = 3600.0
_log = logging.getLogger("tsp.configs")


class _InService:
    """What is answered from what serves at this moment."""

    _roster: Roster

    def tenant(self, name: str) -> Tenant:
        """UnknownTenant for one without an accepted configuration."""
        return self._roster.tenant(name)

    def tenants(self) -> list[str]:
        return self._roster.names()

    def when_full(self, name: str) -> WhenFull:
        """What the tenant wants if its events cannot be kept; "refuse" unless its SIEM configuration says otherwise."""
        return self._roster.when_full(name)


class Configs(_InService):
    """Tenants by name. `refresh` brings news; `tenant` is what requests call and does nothing but look up.

    A record serves only when it opened, is bound to this vendor and to what it claims to be, is newer than all that was
    accepted, and worked in a trial. A refusal leaves the last good version in service and is reported with its reason.
    """

    def __init__(
        self,
        vendor: str,
        keys: PrivateKeys,
        egress: Egress,
        feed: Feed,
        shelf: Shelf,
        *,
        shared: SharedMarks | None = None,
        mail: Mailbox | None = None,
        tsp: str = "",
        allow_local: bool = False,
        report: bool = True,
    ) -> None:
        """`mail` gets the tenants' events about their configurations; workers go without, and with `report` off."""
        self._feed, self._shelf, self._report = feed, shelf, report
        self._roster = Roster(vendor)
        self._checks = Checks(vendor, keys, egress, allow_local)
        news = News(vendor, tsp, mail, shelf)
        self._entrance = Entrance(self._checks, self._roster, shelf, shared, news)
        self._expiry = Expiry(self._roster, news, shared) if mail is not None else None
        self._lock = asyncio.Lock()
        self._restored = self._fetched = False
        self._after, self._failures = 0, 0
        self._disabled: frozenset[int] = frozenset()
        self._heard = self._reported = time.monotonic()

    @staticmethod
    def fixed(vendor: str, documents: Iterable[Document], egress: Egress) -> FixedConfigs:
        """Configurations that never change: for the sandbox and tests. Refused if a document cannot be used."""
        roster = Roster(vendor)
        for document in documents:
            roster.place(document.binding.tenant, admission.activate(document, egress, allow_local=True))
        return FixedConfigs(roster)

    def sink_for(self, queue: str) -> Sink | None:
        """Where the events of an audit queue go: a tenant's SIEM, or the replaced one that a queue with "~" is for.

        None if there is none; UnknownTenant for a tenant that has nothing accepted.
        """
        if "~" not in queue:
            return _sink(self._roster, queue)
        record = self._shelf.retired(queue)
        try:
            found = record and admission.activate(
                admission.read(record, (), vendor=self._checks.vendor, keys=self._checks.keys),
                self._checks.egress,
                allow_local=False,
            )
        except Refused:  # its key was taken away meanwhile
            found = None
        return found.sink if isinstance(found, ActiveSiem) else None

    @property
    def ready(self) -> bool:
        """Whether tenants can be served: the feed was read once, or the last good configurations were found on disk."""
        return self._fetched or bool(self._roster.names())

    @property
    def complete(self) -> bool:
        """Whether the feed was read to its end since the start: a tenant unknown now is unknown to the portal too."""
        return self._fetched

    @property
    def age(self) -> float:
        """Seconds since the portal answered last, or since the start."""
        return time.monotonic() - self._heard

    async def refresh(self) -> None:
        """Read the feed, try what waits, report. Never raises for what the portal does or says (R-14)."""
        async with self._lock:
            if not self._restored:
                await asyncio.to_thread(self._entrance.restore)
                self._after, self._restored = self._shelf.after, True
                self._disabled = frozenset(self._shelf.disabled)
            due = self._entrance.due()
            try:
                await self._fetch()
                self._failures, self._heard = 0, time.monotonic()
            except FeedError as error:
                self._failures += 1
                overdue = time.monotonic() - self._heard > _ALARM_SECONDS
                _log.log(logging.ERROR if overdue else logging.WARNING, "the feed cannot be read: %s", error)
            await self._entrance.again(due)
            await self._entrance.switch(self._disabled)  # what a full trail kept from being switched off
            if self._expiry is not None:
                await self._expiry.look()
            await self._tell_portal()

    @property
    def pause(self) -> float:
        """Seconds that a loop should add to its interval: grows to 30 while the portal cannot be reached."""
        return 0.0 if not self._failures else min(30.0, 2.0 ** min(self._failures, 5))

    def close(self) -> None:
        self._entrance.close()

    async def _fetch(self) -> None:
        more = True
        while more:
            page: Page | None = await asyncio.to_thread(self._feed.fetch, self._after)
            if page is None:
                break
            if page.damaged:
                _log.error("%d records of the feed are damaged and are left out", page.damaged)
            self._entrance.leasing_required = page.leasing_required
            await self._entrance.take(page.records)
            self._disabled = frozenset(page.disabled)
            await self._entrance.switch(self._disabled)
            more = page.more and page.last > self._after
            self._after = max(self._after, page.last)
            await asyncio.to_thread(self._note)
        self._fetched = True

    def _note(self) -> None:
        try:
            self._shelf.note(self._after, self._roster.disabled)
        except OSError as error:  # after a restart the feed is read again from where it was noted
            _log.error("how far the feed was read cannot be noted: %s", error.strerror)

    async def _tell_portal(self) -> None:
        results = dict(self._entrance.results)
        if not self._report or (not results and time.monotonic() - self._reported < _REPORT_SECONDS):
            return
        try:
            await asyncio.to_thread(self._feed.report, list(results.values()))
        except FeedError as error:
            _log.warning("the portal could not be told: %s", error)
            return
        self._reported = time.monotonic()
        for key, result in results.items():
            if self._entrance.results.get(key) == result:
                del self._entrance.results[key]


class FixedConfigs(_InService):
    """What `Configs.fixed` makes: the same questions, and no news."""

    ready, complete, pause = True, True, 0.0

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def sink_for(self, queue: str) -> Sink | None:
        return _sink(self._roster, queue)

    async def refresh(self) -> None:
        """Nothing is new."""

    def close(self) -> None:
        """Nothing is open."""


def _sink(roster: Roster, name: str) -> Sink | None:
    siem = roster.tenant(name).siem
    return None if siem is None else siem.sink
