"""Every page's frame: whose brand it wears, and which way leads on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from broker.models import Tenant, Vendor
from broker.permissions import may, roles_at


@dataclass(frozen=True, slots=True)
class Way:
    """One entry of the navigation."""

    name: str
    address: str
    here: bool


_WAYS = [
    ("Overview", "dashboard", {}, "tenant.see"),
    ("Keys", "sealing", {"kind": "kms"}, "config.see"),
    ("Audit log", "sealing", {"kind": "siem"}, "config.see"),
    ("Secrets", "secrets", {}, "secrets.see"),
    ("History", "history", {}, "config.see"),
    ("Members", "members", {}, "members.see"),
    ("Activity", "activity", {}, "trail.see"),
]


def tenant_page(request: HttpRequest, template: str, tenant: Tenant, **context: Any) -> HttpResponse:
    """A page about one tenant, in its vendor's brand, with the ways that this person may go."""
    roles = roles_at(request.user, tenant)
    ways = []
    for name, view, arguments, action in _WAYS:
        if may(roles, action):
            address = reverse(view, kwargs={"tenant": tenant.pk, **arguments})
            ways.append(Way(name, address, here=request.path == address))
    return _page(request, template, vendor=tenant.vendor, tenant=tenant, ways=ways, roles=roles, **context)


def vendor_page(request: HttpRequest, template: str, vendor: Vendor, **context: Any) -> HttpResponse:
    """A page about one vendor."""
    return _page(request, template, vendor=vendor, **context)


def plain_page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A page about nobody in particular, in the brand of the portal's own vendor."""
    return _page(request, template, vendor=house_vendor(), **context)


def house_vendor() -> Vendor | None:
    """The vendor that this portal is run by (CMK_VENDOR), if it has been created."""
    return Vendor.objects.filter(name=settings.CMK_VENDOR).first() if settings.CMK_VENDOR else None


def _page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    response = render(request, template, context)
    response["Cache-Control"] = "no-store"
    return response
