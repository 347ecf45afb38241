"""manage.py tsp_keygen: a new key pair for the proxy."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tsp.contract import sealed
from tsp.unseal import fingerprint, generate, public_key


class Command(BaseCommand):
    help = "Make a key pair that tenants seal their configurations to. The private half is shown once and kept nowhere."
    requires_system_checks: list[str] = []  # noqa: RUF012  it is run before there are any settings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", type=Path, help="write the private key to this new file (0600), not to the screen")

    def handle(self, *args: Any, **options: Any) -> None:
        with generate() as private:
            public = public_key(private)
            text = base64.b64encode(private.view()).decode()
        out: Path | None = options["out"]
        if out is None:
            self.stdout.write(f"private key  {text}")
        else:
            _write(out, text)
            self.stdout.write(f"private key is in {out}")
        name = sealed.key_id(public)
        self.stdout.write(f"public key   {base64.b64encode(public).decode()}")
        self.stdout.write(f"key id       {name}")
        self.stdout.write(f"fingerprint  {fingerprint(name)}")


def _write(path: Path, text: str) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandError(f"{path} cannot be made: {error.strerror}") from None
    with os.fdopen(file, "w") as out:
        out.write(text + "\n")
