"""manage.py broker_secrets: list tenant secrets, rotate one, back all of them up, bring them back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from broker import services
from broker.errors import BrokerRefused
from broker.models import Tenant, TenantSecret, Vendor
from broker.models.secrets import ARCHIVED, CURRENT, IN_ROTATION
from broker.services import Actor
from tsp.contract.secrets import TYPES

_BY = Actor("manage.py broker_secrets")


class Command(BaseCommand):
    help = "Tenant secrets: list, begin, commit, export, restore. Everything shown or written is ciphertext or names."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        for name, what in _VERBS.items():
            verb = verbs.add_parser(name, help=what)
            verb.add_argument("--vendor", required=True, help="the vendor's name")
            if name != "restore":
                rotates = name in ("begin", "commit")
                verb.add_argument(
                    "--tenant", required=rotates, help="the tenant's name" + ("" if rotates else "; else all")
                )
            if name in ("begin", "commit"):
                verb.add_argument("--type", required=True, choices=TYPES)
                verb.add_argument("--path", required=True, help="the secret path, as the SaaS sends it")
            if name == "export":
                verb.add_argument("--out", type=Path, required=True, help="a new file, readable by you only")
            if name == "restore":
                verb.add_argument("file", type=Path, help="what export wrote")

    def handle(self, *args: Any, **said: Any) -> None:
        vendor = Vendor.objects.filter(name=said["vendor"]).first()
        if vendor is None:
            raise CommandError("there is no such vendor: check --vendor")
        try:
            done = getattr(self, f"_{said['verb']}")(vendor, said)
        except BrokerRefused as error:
            raise CommandError(str(error)) from None
        self.stdout.write(done)

    def _list(self, vendor: Vendor, said: dict[str, Any]) -> str:
        rows = TenantSecret.objects.filter(tenant__vendor=vendor).select_related("tenant")
        if said["tenant"]:
            rows = rows.filter(tenant=_tenant(vendor, said))
        lines = [
            f"{row.number:>10}  {row.tenant.name:<20} {row.kind:<13} {row.get_state_display():<11} "
            f"{row.created:%Y-%m-%d %H:%M}  {row.path!r}"
            for row in rows
        ]
        return "\n".join(lines) or "no secrets yet: a proxy makes one when it is first asked to derive"

    def _begin(self, vendor: Vendor, said: dict[str, Any]) -> str:
        secret = _secret(vendor, said, CURRENT)
        services.begin_rotation(secret=secret, by=_BY)
        return f"secret {secret.number} is in rotation; the next derive makes its successor"

    def _commit(self, vendor: Vendor, said: dict[str, Any]) -> str:
        secret = _secret(vendor, said, IN_ROTATION)
        services.commit_rotation(secret=secret, by=_BY)
        return f"secret {secret.number} is archived"

    def _export(self, vendor: Vendor, said: dict[str, Any]) -> str:
        tenant = _tenant(vendor, said) if said["tenant"] else None
        backup = services.export_secrets(vendor=vendor, tenant=tenant, by=_BY)
        try:
            with open(os.open(said["out"], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(backup, file)
        except OSError as error:
            raise CommandError(f"--out cannot be written: {error.strerror}") from None
        return f"{len(backup['secrets'])} secrets in {said['out']}"

    def _restore(self, vendor: Vendor, said: dict[str, Any]) -> str:
        try:
            backup = json.loads(said["file"].read_bytes())
        except OSError as error:
            raise CommandError(f"the file cannot be read: {error.strerror}") from None
        except ValueError:
            raise CommandError("the file is not JSON") from None
        restored, known = services.restore_secrets(vendor=vendor, backup=backup, by=_BY)
        return f"{restored} restored, {known} were there already"


_VERBS = {
    "list": "what there is, and in which state",
    "begin": "begin a rotation: the current secret only decrypts from now on",
    "commit": f"commit a rotation: the secret in rotation becomes {ARCHIVED}",
    "export": "write a backup",
    "restore": "bring back what a backup holds and the database does not",
}


def _tenant(vendor: Vendor, said: dict[str, Any]) -> Tenant:
    found = Tenant.objects.filter(vendor=vendor, name=said["tenant"]).first()
    if found is None:
        raise CommandError("there is no such tenant: check --tenant")
    return found


def _secret(vendor: Vendor, said: dict[str, Any], state: str) -> TenantSecret:
    rows = TenantSecret.objects.filter(tenant=_tenant(vendor, said), kind=said["type"], path=said["path"], state=state)
    found: TenantSecret | None = rows.select_related("tenant__vendor").first()
    if found is None:
        raise CommandError("there is no such secret in the state for that: see broker_secrets list")
    return found
