"""A backup of tenant secrets, and how it comes back. It holds ciphertext: only each tenant's key service opens it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from broker.errors import BackupRefused
from broker.models import Config, Tenant, TenantSecret, Vendor
from broker.models.secrets import CURRENT, IN_ROTATION, STATES
from broker.services.numbers import at_least
from broker.services.trail import Actor, leave
from encrypted_fields.core.protocol import MAX_EDEK
from tsp.contract.secrets import MAX_ID, place_of

FORMAT = "cmk/secrets-backup/1"
_MEMBERS = {"id", "tenant", "type", "path", "config", "state", "created", "wrapped"}


@transaction.atomic
def export_secrets(*, vendor: Vendor, by: Actor, tenant: Tenant | None = None) -> dict[str, Any]:
    """Every secret of a vendor, or of one tenant, archived ones as well; docs/formats.md section 7."""
    rows = TenantSecret.objects.filter(tenant__vendor=vendor).select_related("tenant").order_by("number")
    if tenant is not None:
        rows = rows.filter(tenant=tenant)
    found = [_row(secret) for secret in rows.iterator()]
    leave("secrets.exported", by=by, vendor=vendor, tenant=tenant, subject=vendor.name, count=len(found))
    return {"format": FORMAT, "vendor": vendor.name, "made": timezone.now().isoformat(), "secrets": found}


@transaction.atomic
def restore_secrets(*, vendor: Vendor, backup: object, by: Actor) -> tuple[int, int]:
    """(restored, known already). All or nothing; BackupRefused names the first secret that does not fit.

    A secret that is there already is left as it is. One that comes back as current while its place has another goes
    into rotation instead: both open, and nothing that was written meanwhile is lost.
    """
    rows = _rows(backup, vendor)
    at_least("secret", max((row["id"] for row in rows), default=0))
    restored = sum(_restore(vendor, row) for row in rows)
    leave("secrets.restored", by=by, vendor=vendor, subject=vendor.name, count=restored)
    return restored, len(rows) - restored


def _row(secret: TenantSecret) -> dict[str, Any]:
    return {
        "id": secret.number,
        "tenant": secret.tenant.name,
        "type": secret.kind,
        "path": secret.path,
        "config": secret.config_id,
        "state": secret.state,
        "created": secret.created.isoformat(),
        "wrapped": base64.b64encode(bytes(secret.wrapped)).decode(),
    }


def _rows(backup: object, vendor: Vendor) -> list[dict[str, Any]]:
    if not isinstance(backup, dict) or backup.get("format") != FORMAT or not isinstance(backup.get("secrets"), list):
        raise BackupRefused(f"that is not a backup of the format {FORMAT}")
    if backup.get("vendor") != vendor.name:
        raise BackupRefused("the backup is of another vendor")
    rows: list[dict[str, Any]] = backup["secrets"]
    for at, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != _MEMBERS or not _is_right(row):
            raise BackupRefused(f"secret {at + 1} of the backup is damaged")
    return rows


def _is_right(row: dict[str, Any]) -> bool:
    try:
        place_of(row["type"], row["path"])
        wrapped = base64.b64decode(row["wrapped"], validate=True)
        aware = datetime.fromisoformat(row["created"]).tzinfo is not None
    except (ValueError, TypeError, binascii.Error):
        return False
    numbers = type(row["id"]) is int and 1 <= row["id"] <= MAX_ID and type(row["config"]) is int
    return numbers and aware and 0 < len(wrapped) <= MAX_EDEK and row["state"] in dict(STATES)


def _restore(vendor: Vendor, row: dict[str, Any]) -> bool:
    known = TenantSecret.objects.filter(pk=row["id"]).select_related("tenant").first()
    if known is not None:
        if known.tenant.vendor_id != vendor.pk or {**_row(known), **_movable(row)} != row:
            raise BackupRefused(f"the number {row['id']} belongs to another secret by now: nothing was restored")
        return False
    config = Config.objects.filter(tenant__vendor=vendor, tenant__name=row["tenant"], number=row["config"]).first()
    if config is None or config.kind != "kms":
        raise BackupRefused(f"secret {row['id']} is wrapped by a configuration that is not here: restore that first")
    made = TenantSecret(
        number=row["id"],
        tenant_id=config.tenant_id,
        config=config,
        kind=row["type"],
        path=row["path"],
        place=place_of(row["type"], row["path"]),
        wrapped=base64.b64decode(row["wrapped"]),
        created=datetime.fromisoformat(row["created"]),
    )
    for state in _ways_back(row["state"]):
        made.state = state
        if _inserted(made):
            return True
    raise BackupRefused(f"secret {row['id']} does not fit: its place has a rotation of its own; commit that first")


def _movable(row: dict[str, Any]) -> dict[str, Any]:
    """What may differ between the backup and today: a rotation went on. Times are the same in any zone."""
    return {"state": row["state"], "created": row["created"]}


def _ways_back(state: str) -> Iterable[str]:
    return (CURRENT, IN_ROTATION) if state == CURRENT else (state,)


def _inserted(made: TenantSecret) -> bool:
    try:
        with transaction.atomic():
            made.save(force_insert=True)
    except IntegrityError:
        return False
    return True
