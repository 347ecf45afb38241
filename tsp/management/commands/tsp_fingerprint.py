"""manage.py tsp_fingerprint: what the tenants' pages must show for this proxy's keys."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tsp.unseal import PrivateKeys, fingerprint


class Command(BaseCommand):
    help = "Print the fingerprints of the proxy's keys (TSP_PRIVATE_KEYS), to compare with what the portal shows (T-2)."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            keys = PrivateKeys.parse(settings.TSP_PRIVATE_KEYS)
        except ValueError as error:
            raise CommandError(f"TSP_PRIVATE_KEYS: {error}") from None
        for name in keys.ids:
            self.stdout.write(fingerprint(name))
