"""`manage.py encrypt_existing`: seal what lies in clear, values and files. Restartable, while writers go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from encrypted_fields.moving import PLAINTEXT
from encrypted_fields.moving.choice import Group
from encrypted_fields.moving.command import MovingCommand
from encrypted_fields.moving.job import Job
from encrypted_fields.moving.jobs import encryption


class Command(MovingCommand):
    help = "Seals values and files that lie in clear beside encrypted ones, and clears them where the state says so."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--verify",
            action="store_true",
            help='state "dual": also open what is sealed, and compare',
        )

    def chosen(self, options: dict[str, Any]) -> Iterator[Group]:
        for group in super().chosen(options):
            ready = [one for one in group.fields if one.state != PLAINTEXT]
            fields = group.fields if options["model"] else ready  # a field that was asked for tells why it cannot
            if fields:
                yield group._replace(fields=fields)

    def job(self, group: Group, options: dict[str, Any]) -> Job:
        return encryption(group, options["tenant"], verify=options["verify"])
