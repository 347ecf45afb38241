"""The vendor's page: its tenants and how each stands."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from broker.models import Config, Tenant
from broker.permissions import vendor_for
from broker.verdict import Standing, live_proxies, standings
from broker.views.page import vendor_page

PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    tenant: Tenant
    kms: list[Standing]
    siem: list[Standing]


@require_safe
def tenants(request: HttpRequest, vendor: UUID) -> HttpResponse:
    """Which tenants there are, and whether their key service and audit log work. Nothing of what they sealed."""
    found = vendor_for(request.user, vendor, "vendor.see")
    page = Paginator(found.tenants.all(), PAGE).get_page(request.GET.get("page"))
    shown = list(page)
    configs = Config.objects.filter(tenant__in=shown, versions__isnull=False).distinct().order_by("-number")
    by_place: dict[tuple[UUID, str], list[Standing]] = {}
    for standing in standings(found, configs):
        by_place.setdefault((standing.config.tenant_id, standing.config.kind), []).append(standing)
    rows = [Row(each, by_place.get((each.pk, "kms"), []), by_place.get((each.pk, "siem"), [])) for each in shown]
    context = {"rows": rows, "page": page, "keys": found.proxy_keys.all(), "proxies": live_proxies(found)}
    return vendor_page(request, "broker/vendor.html", found, **context)
