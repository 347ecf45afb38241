"""manage.py tsp_openapi: write the description of the wire API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tsp import openapi


class Command(BaseCommand):
    help = "Write the OpenAPI document of the wire API, as the code has it; without --out to the screen."
    requires_system_checks: list[str] = []  # noqa: RUF012  it needs no settings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", type=Path, help="such as docs/openapi.json")

    def handle(self, *args: Any, **options: Any) -> None:
        out: Path | None = options["out"]
        if out is None:
            self.stdout.write(openapi.text(), ending="")
        else:
            out.write_text(openapi.text())
