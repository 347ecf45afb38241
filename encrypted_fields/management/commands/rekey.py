"""`manage.py rekey`: wrapped keys inside stored values and files are wrapped anew by today's primary configuration."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from encrypted_fields.moving.choice import Group
from encrypted_fields.moving.command import MovingCommand
from encrypted_fields.moving.job import Job
from encrypted_fields.moving.jobs import rekeying


class Command(MovingCommand):
    help = "Rekeys stored values and files through the proxy: their wrapped keys change, nothing is opened here."
    moving = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--every", action="store_true", help="also what the primary configuration wrapped")

        parser.add_argument(
            "--one-by-one", action="store_true", help="a call for each key: for a proxy without batch-rekey"
        )

    def job(self, group: Group, options: dict[str, Any]) -> Job:
        return rekeying(group, options["tenant"], every=options["every"], one_by_one=options["one_by_one"])
