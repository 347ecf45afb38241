"""manage.py tsp_serve: run the proxy."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Run the tenant security proxy: the wire API on TSP_PORT, health and metrics on TSP_OPS_PORT, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        from encrypted_fields.core.errors import CmkError
        from tsp import listen
        from tsp.conf import ConfError, TspSettings
        from tsp.serve import Process

        listen.harden()

        async def main() -> None:
            await Process(TspSettings.of(settings)).run()

        try:
            listen.run(main)
        except (ConfError, CmkError, OSError, ValueError) as error:
            raise CommandError(f"the proxy cannot start: {error}") from None
