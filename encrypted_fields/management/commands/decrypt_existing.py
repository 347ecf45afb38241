"""`manage.py decrypt_existing`: the way back from ciphertext to plaintext. Restartable, while writers go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from encrypted_fields.moving import DUAL, PLAINTEXT
from encrypted_fields.moving.choice import Group
from encrypted_fields.moving.command import MovingCommand
from encrypted_fields.moving.job import Job
from encrypted_fields.moving.jobs import decryption


class Command(MovingCommand):
    help = "Writes values that are only sealed back in clear (state dual), then drops ciphertext (state plaintext)."

    def chosen(self, options: dict[str, Any]) -> Iterator[Group]:
        if not options["model"]:
            raise ValueError("name the --model: nothing is decrypted by accident")
        for group in super().chosen(options):
            ready = [one for one in group.fields if one.state in (PLAINTEXT, DUAL)]
            yield group._replace(fields=ready or group.fields)

    def job(self, group: Group, options: dict[str, Any]) -> Job:
        return decryption(group, options["tenant"])
