"""manage.py tsp_api_key: a new API key for some tenants and operations."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tsp import access
from tsp.guard import OPERATIONS


class Command(BaseCommand):
    help = (
        "Make an API key that is good for the named tenants and operations only. The key is shown once and kept "
        "nowhere; the JSON object belongs into the list in TSP_API_KEYS_FILE."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  it needs no settings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="how the key is called in audit events")
        parser.add_argument("--tenant", action="append", help="may be given more than once; without it all tenants")
        parser.add_argument(
            "--operation", action="append", choices=OPERATIONS, help="may be given more than once; without it all"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        key = access.new_key()
        try:
            made = access.entry(key, options["name"], options["tenant"] or "*", options["operation"] or "*")
        except access.AccessError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"API key  {key}")
        self.stdout.write(json.dumps(made))
