"""Credentials and certificates that end soon: the tenant's log is told 14, 3 and 1 days ahead, and at the end. R-7."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import time
from collections.abc import Callable
from typing import Any

from cryptography import x509

from tsp.configs.news import News
from tsp.configs.roster import Roster
from tsp.configs.shared_marks import SharedMarks

WARNINGS = (14, 3, 1, 0)  # days ahead
_DAY = 86_400
_LOOK_SECONDS = 3_600.0
_REMEMBERED = 60 * _DAY


class Expiry:
    """Looks once an hour. Each warning is given once for a version: by one proxy with Redis, by each without."""

    def __init__(
        self, roster: Roster, news: News, shared: SharedMarks | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._roster, self._news, self._shared, self._clock = roster, news, shared, clock
        self._told: set[str] = set()
        self._next = 0.0

    async def look(self) -> None:
        """Warn of what is due, unless the last look was less than an hour ago."""
        now = self._clock()
        if self._next - _LOOK_SECONDS <= now < self._next:
            return
        self._next = now + _LOOK_SECONDS
        for name, config, version, day, days in await asyncio.to_thread(self._due):
            what = f"{name}/{config}/{version}/{days}"
            if what in self._told:
                continue
            self._told.add(what)
            if self._shared is None or await self._shared.first_to_warn(what, _REMEMBERED):
                await self._news.tell(self._news.expiring(name, config, version, day, days))

    def _due(self) -> list[tuple[str, int, int, str, int]]:
        today, found = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC).date(), []
        for name, active in self._roster.serving():
            try:
                day = end_of(active.options())
            except ValueError:  # one tenant's certificates must not keep the others from being warned
                continue
            if day is None:
                continue
            left = (day - today).days
            days = min((one for one in WARNINGS if left <= one), default=None)
            if days is not None:
                found.append((name, active.config, active.version, day.isoformat(), days))
        return found


def end_of(options: Any) -> datetime.date | None:
    """The first day on which something in a provider's options has ended; None if nothing says so."""
    ends = []
    for item in dataclasses.fields(options):
        value, kind = getattr(options, item.name), item.metadata.get("ends")
        if kind == "date" and value:
            ends.append(datetime.date.fromisoformat(value))
        elif kind == "pem" and value:
            ends += [one.not_valid_after_utc.date() for one in x509.load_pem_x509_certificates(value.encode())]
    return min(ends, default=None)
