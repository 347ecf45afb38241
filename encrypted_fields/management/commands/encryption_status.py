"""`manage.py encryption_status`: values and files by state and key. Exit code 1 if something must not be."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from encrypted_fields.moving.choice import groups
from encrypted_fields.moving.status import Status, status


class Command(BaseCommand):
    help = "Counts stored values and files by state and key; fails if plaintext is left in an encrypted-only field."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", action="append", default=[], metavar="APP.MODEL", help="may be repeated")
        parser.add_argument("--field", action="append", default=[], metavar="NAME", help="of these models")
        parser.add_argument("--database", action="append", default=[], metavar="ALIAS", help="may be repeated")
        parser.add_argument("--json", action="store_true", help="the same as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        databases = options["database"] or [DEFAULT_DB_ALIAS]
        found = list[Status]()
        try:
            for group in groups(databases, options["model"], options["field"], moving=False):
                found += [status(group.table, field) for field in group.fields]
        except ValueError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps([one.as_dict() for one in found], indent=1))
        else:
            self._table(found)
        problems = [f"{one.model}.{one.field} in {one.database}: {one.problem}" for one in found if one.problem]
        if problems:
            raise CommandError("; ".join(problems))

    def _table(self, found: list[Status]) -> None:
        lines: list[tuple[str, ...]] = [
            ("field", "database", "state", "rows", "null", "in clear", "sealed", "both", "foreign", "missing", "keys")
        ]
        for one in found:
            keys = ", ".join(
                f"configuration {config}{f' leased {leased}' if leased else ''}: {count:,}"
                for (config, leased), count in sorted(one.keys.items())
            )
            counts = (one.rows, one.null, one.in_clear, one.sealed, one.both, one.foreign, one.missing)
            name = f"{one.model}.{one.field}"
            lines.append((name, one.database, one.state or "encrypted", *(f"{count:,}" for count in counts), keys))
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        for line in lines:
            cells = [text.rjust(width) if 3 <= at < 10 else text.ljust(width)
                     for at, (text, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
            self.stdout.write("  ".join(cells).rstrip())
