"""manage.py tsp_sandbox: a proxy to develop and test against, ready in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = (
        "Serve the wire API for some tenants with local keys: no portal, no Redis, one process. For development only."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  ready within three seconds, and it needs none of the settings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument(
            "--port", type=int, default=7777, help="0: any free port; the line that is printed names it"
        )
        parser.add_argument(
            "--api-key", required=True, help="what clients send; alloy wants base64 of 12 bytes or more"
        )
        parser.add_argument("--tenant", action="append", required=True, help="may be given more than once")
        parser.add_argument("--leased", action="store_true", help="wrap under leased keys")
        parser.add_argument("--state-dir", type=Path, help="kept between runs; without it all is gone at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        from tsp import listen, sandbox

        state: Path | None = options["state_dir"]
        try:
            listen.run(
                lambda: sandbox.serve(
                    options["host"],
                    options["port"],
                    options["api_key"],
                    list(dict.fromkeys(options["tenant"])),
                    options["leased"],
                    state.resolve() if state else None,
                )
            )
        except (OSError, ValueError) as error:
            raise CommandError(f"the sandbox cannot start: {error}") from None
