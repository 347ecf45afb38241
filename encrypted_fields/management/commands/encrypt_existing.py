"""`manage.py encrypt_existing`: seal what lies in clear in moving fields. Restartable, while writers go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from encrypted_fields.moving import PLAINTEXT
from encrypted_fields.moving.choice import Group
from encrypted_fields.moving.command import MovingCommand
from encrypted_fields.moving.encrypting import Encryption


class Command(MovingCommand):
    help = "Seals the values that lie in clear beside encrypted fields, and clears them in the states that say so."

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
                yield Group(group.table, fields)

    def job(self, group: Group, options: dict[str, Any]) -> Encryption:
        return Encryption(group.table, group.fields, tenant=options["tenant"], verify=options["verify"])
