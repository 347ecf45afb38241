"""A vendor's look, for whoever comes: the page before the login wears it too."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import condition, require_safe

from broker.colours import DARK, LIGHT, readable
from broker.models import Vendor
from broker.pictures import media_type


def _tag(request: HttpRequest, vendor: UUID) -> str | None:
    found = Vendor.objects.filter(pk=vendor).first()
    if found is None:
        return None
    return f'"{hashlib.sha256(found.colour.encode() + bytes(found.logo)).hexdigest()[:32]}"'


@login_not_required
@require_safe
@condition(etag_func=_tag)
def colours(request: HttpRequest, vendor: UUID) -> HttpResponse:
    """The vendor's colour as a style sheet: the policy of the pages forbids inline styles."""
    colour = get_object_or_404(Vendor, pk=vendor).colour
    light, dark = readable(colour, LIGHT), readable(colour, DARK)
    sheet = f":root{{--brand:{colour};--accent-on-light:{light};--accent-on-dark:{dark}}}\n"
    return _cached(HttpResponse(sheet, content_type="text/css; charset=utf-8"))


@login_not_required
@require_safe
@condition(etag_func=_tag)
def logo(request: HttpRequest, vendor: UUID) -> HttpResponse:
    """The vendor's logo."""
    picture = bytes(get_object_or_404(Vendor, pk=vendor).logo)
    kind = media_type(picture)
    if kind is None:
        raise Http404
    return _cached(HttpResponse(picture, content_type=kind))


def _cached(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "public, max-age=300"
    return response
