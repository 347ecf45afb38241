"""manage.py tsp_dead_letters: audit events that a SIEM would not take, and the way to send them again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from tsp.audit.dead import DeadFiles, DeadLetter
from tsp.audit.stream import connect
from tsp.audit.stream_source import StreamSource


class Command(BaseCommand):
    help = "List the audit events that were rejected, by tenant with the reason; with --redrive TENANT send them again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--redrive", metavar="TENANT", help="put this tenant's dead letters back into its queue")

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self._handle(options["redrive"]))

    async def _handle(self, tenant: str | None) -> None:
        places: list[DeadFiles | StreamSource] = [DeadFiles(Path(settings.TSP_STATE_DIR) / "proxy" / "audit" / "dead")]
        redis = connect(settings.TSP_REDIS_URL) if settings.TSP_REDIS_URL else None
        if redis is not None:
            places.append(StreamSource(redis, settings.CMK_VENDOR))
        try:
            for place in places:
                await (self._list(place) if tenant is None else self._redrive(place, tenant))
        finally:
            if redis is not None:
                await redis.aclose()

    async def _list(self, place: DeadFiles | StreamSource) -> None:
        for queue in place.queues() if isinstance(place, DeadFiles) else await place.dead_queues():
            for letter in await _letters(place, queue):
                event = letter.event
                self.stdout.write(f"{queue}  {event.id}  {event.time}  {event.action}  {letter.time}  {letter.reason}")

    async def _redrive(self, place: DeadFiles | StreamSource, queue: str) -> None:
        count = place.redrive(queue) if isinstance(place, DeadFiles) else await place.redrive(queue)
        if count:
            self.stdout.write(f"{count} events of {queue} will be sent again")


async def _letters(place: DeadFiles | StreamSource, queue: str) -> list[DeadLetter]:
    return place.letters(queue) if isinstance(place, DeadFiles) else await place.letters(queue)
