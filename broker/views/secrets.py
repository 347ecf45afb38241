"""The page of a tenant's secrets, and the two buttons of a rotation."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from broker.errors import RotationRefused
from broker.models import TenantSecret
from broker.models.secrets import CURRENT, IN_ROTATION
from broker.permissions import may, roles_at, tenant_for
from broker.services import Actor, begin_rotation, commit_rotation
from broker.services.secrets import settled_before
from broker.views.page import tenant_page

PAGE = 50


@require_safe
def listing(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """Which secrets there are and how each rotation stands; never a byte of one."""
    found = tenant_for(request.user, tenant, "secrets.see")
    rows = TenantSecret.objects.filter(tenant=found).defer("wrapped").select_related("config")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    places = [row.place for row in page]
    live = TenantSecret.objects.filter(tenant=found, place__in=places, state__in=(CURRENT, IN_ROTATION))
    states = {(row.place, row.state): row for row in live.defer("wrapped")}
    shown = [(row, _says(row, states), _step(row, states)) for row in page]
    rotates = may(roles_at(request.user, found), "secrets.rotate")
    return tenant_page(request, "broker/secrets.html", found, page=page, shown=shown, rotates=rotates)


@require_POST
def rotate(request: HttpRequest, tenant: UUID, secret: int, step: str) -> HttpResponse:
    """Begin or commit the rotation of one secret."""
    found = tenant_for(request.user, tenant, "secrets.rotate")
    row = get_object_or_404(TenantSecret.objects.select_related("tenant__vendor"), tenant=found, number=secret)
    try:
        (begin_rotation if step == "begin" else commit_rotation)(secret=row, by=Actor.of(request))
    except RotationRefused as error:
        messages.warning(request, str(error))
    return redirect("secrets", found.pk)


_States = dict[tuple[str, str], TenantSecret]


def _says(row: TenantSecret, states: _States) -> str:
    successor = states.get((row.place, CURRENT))
    if row.state == IN_ROTATION:
        if successor is None:
            return "opens; encrypts until its successor is there, which the next use makes"
        return "opens" if _settled(successor) else "opens; encrypts for some seconds more"
    if row.state == CURRENT:
        return "opens and encrypts" if not _pending(row, states) else "opens; encrypts in some seconds"
    return "kept, and used by no proxy"


def _step(row: TenantSecret, states: _States) -> str:
    """The one step that can be taken from here, or none."""
    if row.state == CURRENT:
        return "" if (row.place, IN_ROTATION) in states else "begin"
    successor = states.get((row.place, CURRENT))
    return "commit" if row.state == IN_ROTATION and successor is not None and _settled(successor) else ""


def _pending(row: TenantSecret, states: _States) -> bool:
    return (row.place, IN_ROTATION) in states and not _settled(row)


def _settled(row: TenantSecret) -> bool:
    return row.changed <= settled_before()
