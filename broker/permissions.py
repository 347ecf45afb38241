"""Who may do what: one table, and the one way to reach a tenant or a vendor."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework.permissions import BasePermission

from broker.models import Member, Tenant, User, Vendor

# action → roles that may. An operator sees how a tenant stands; only the tenant's own admin configures it.
TABLE: dict[str, frozenset[str]] = {
    "tenant.see": frozenset({"operator", "admin", "viewer"}),
    "config.see": frozenset({"admin", "viewer"}),
    "config.seal": frozenset({"admin"}),
    "config.switch": frozenset({"admin"}),
    "members.see": frozenset({"admin", "viewer"}),
    "trail.see": frozenset({"admin", "viewer"}),
    "secrets.see": frozenset({"operator", "admin", "viewer"}),
    "secrets.rotate": frozenset({"admin"}),
    "secrets.back_up": frozenset({"operator"}),
    "vendor.see": frozenset({"operator"}),
}


class Nobody(BasePermission):
    """The default of every API view that does not say who may use it."""

    def has_permission(self, *_: Any) -> bool:
        return False


def tenant_for(user: User | AnonymousUser, tenant: UUID, action: str) -> Tenant:
    """The tenant, when `user` may do `action` there.

    Http404 for a stranger, as if there were none; PermissionDenied for a member whose role is not enough.
    """
    found = Tenant.objects.select_related("vendor").filter(pk=tenant).first()
    roles = roles_at(user, found) if found else set()
    if found is None or not roles:
        raise Http404
    if not roles & TABLE[action]:
        raise PermissionDenied
    return found


def vendor_for(user: User | AnonymousUser, vendor: UUID, action: str) -> Vendor:
    """The vendor, when `user` is its operator; Http404 otherwise."""
    found = Vendor.objects.filter(pk=vendor).first()
    roles = _roles(user, found, None) if found else set()
    if found is None or not roles & TABLE[action]:
        raise Http404
    return found


def roles_at(user: User | AnonymousUser, tenant: Tenant) -> set[str]:
    """The person's roles at this tenant: as its member, as an operator of its vendor, or both."""
    return _roles(user, tenant.vendor, None) | _roles(user, tenant.vendor, tenant)


def may(roles: set[str], action: str) -> bool:
    return bool(roles & TABLE[action])


def _roles(user: User | AnonymousUser, vendor: Vendor, tenant: Tenant | None) -> set[str]:
    if not isinstance(user, User) or not user.is_active:
        return set()
    return set(Member.objects.filter(user=user, vendor=vendor, tenant=tenant).values_list("role", flat=True))
