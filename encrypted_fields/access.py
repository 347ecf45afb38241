"""Has the customer withdrawn access? Asked with one key for each tenant, and without opening a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from encrypted_fields.ciphertext import held
from encrypted_fields.core.errors import WITHDRAWN, CmkError
from encrypted_fields.fields.binding import edek_of
from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.keys import open_keys
from encrypted_fields.tenancy import NoTenant, TenantConflict, agreed


def withdrawn(rows: Iterable[Any]) -> set[Any]:
    """Those of the rows that belong to a tenant who refuses its key. An outage or a policy is no refusal."""
    answers: dict[str, bool] = {}
    found = set()
    for row in rows:
        for field in row._meta.concrete_fields:
            stored = held(row, field) if getattr(field, "cmk_encrypted", False) else None
            if stored is None:
                continue
            try:
                tenant = _tenant(row, field)
            except (NoTenant, TenantConflict):
                continue
            if tenant not in answers:
                answers[tenant] = _refused(tenant, field, stored, str(row.pk))
            if answers[tenant]:
                found.add(row)
    return found


def _tenant(row: Any, field: Any) -> str:
    """As the rows of a page know it together: a path costs one query for all of them."""
    value = row.__dict__[field.attname]
    sealed = value.sealed if isinstance(value, Locked) else value
    own = sealed.part.tenant(sealed.index) if isinstance(sealed, Sealed) else None
    return agreed(own) if own is not None else field.binding.tenant_of(row)


def _refused(tenant: str, field: Any, stored: bytes, row: str) -> bool:
    try:
        found = dict(open_keys(tenant, [edek_of(stored)], label=field.binding.label, object_id=row))
    except CmkError as error:
        return isinstance(error, WITHDRAWN)
    return any(isinstance(key, WITHDRAWN) for key in found.values())
