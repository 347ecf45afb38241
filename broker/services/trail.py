"""Who acts, and the row that each write leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from broker.models import Tenant, Trail, User, Vendor


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a write: a person, a proxy ("proxy:eu-1") or a command ("manage.py seed"), and from which address."""

    name: str
    user: User | None = None
    address: str | None = None

    @classmethod
    def of(cls, request: HttpRequest) -> Actor:
        """The person who is signed in. TypeError when nobody is: a view forgot to ask for a login."""
        if not isinstance(request.user, User):
            raise TypeError("a write needs a person who is signed in")
        return cls(request.user.email, request.user, request.META.get("REMOTE_ADDR") or None)


def leave(
    action: str, *, by: Actor, vendor: Vendor, subject: object, tenant: Tenant | None = None, **facts: Any
) -> Trail:
    """Add one row; called inside the write's transaction, so that neither exists without the other."""
    return Trail.objects.create(
        vendor=vendor,
        tenant=tenant,
        actor=by.name[:254],
        user=by.user,
        address=by.address,
        action=action,
        subject=str(subject)[:200],
        facts=facts,
    )
