"""A tenant's pages: how it stands, what was sealed when, who may, and who did."""

from __future__ import annotations

from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from broker.forms import Switch
from broker.models import Config, ConfigVersion, Tenant, Trail
from broker.permissions import may, roles_at, tenant_for
from broker.services import Actor, set_config_enabled
from broker.verdict import Standing, live_proxies, standings
from broker.views.page import tenant_page

PAGE = 25


@require_safe
def dashboard(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """How the key service and the audit log stand, as the proxies report it."""
    found = tenant_for(request.user, tenant, "tenant.see")
    kms, siem = standing_of(found, "kms"), standing_of(found, "siem")
    trail = found.trail.all()[:5] if may(roles_at(request.user, found), "trail.see") else Trail.objects.none()
    proxies = live_proxies(found.vendor)
    return tenant_page(request, "broker/dashboard.html", found, kms=kms, siem=siem, proxies=proxies, trail=trail)


@require_safe
def history(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """Every version that was ever sealed, newest first."""
    found = tenant_for(request.user, tenant, "config.see")
    rows = ConfigVersion.objects.filter(config__tenant=found).select_related("config", "author").order_by("-sequence")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return tenant_page(request, "broker/history.html", found, page=page)


@require_safe
def members(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """Who may see and configure this tenant."""
    found = tenant_for(request.user, tenant, "members.see")
    people = found.members.select_related("user").order_by("user__email")
    return tenant_page(request, "broker/members.html", found, people=people)


@require_safe
def activity(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The trail: who did what, when and from where."""
    found = tenant_for(request.user, tenant, "trail.see")
    page = Paginator(found.trail.all(), PAGE).get_page(request.GET.get("page"))
    return tenant_page(request, "broker/activity.html", found, page=page)


@require_POST
def switch(request: HttpRequest, tenant: UUID, number: int) -> HttpResponse:
    """Switch one configuration on or off."""
    found = tenant_for(request.user, tenant, "config.switch")
    config = get_object_or_404(Config.objects.select_related("tenant__vendor"), tenant=found, number=number)
    form = Switch(request.POST)
    if not form.is_valid():
        return HttpResponse("'enabled' must be on or off", status=400, content_type="text/plain")
    set_config_enabled(config=config, enabled=form.cleaned_data["enabled"], by=Actor.of(request))
    return redirect("sealing", found.pk, config.kind)


def standing_of(tenant: Tenant, kind: str) -> list[Standing]:
    """The tenant's configurations of one kind that have been sealed, newest first."""
    configs = tenant.configs.filter(kind=kind, versions__isnull=False).distinct().order_by("-number")
    return standings(tenant.vendor, configs)
