"""Signing in, and where one arrives."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from broker.forms import SignIn
from broker.models import Member, User
from broker.views.page import house_vendor, plain_page


class Entrance(LoginView):
    """The login page, in the vendor's brand."""

    template_name = "broker/login.html"
    authentication_form = SignIn
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(vendor=house_vendor(), **kwargs)


def home(request: HttpRequest) -> HttpResponse:
    """Straight to the only place a person has, or a choice of places."""
    if not isinstance(request.user, User):
        return redirect("login")
    places = Member.objects.filter(user=request.user).select_related("vendor", "tenant").order_by("vendor", "tenant")
    found = list(places)
    if len(found) == 1:
        only = found[0]
        return redirect("dashboard", only.tenant_id) if only.tenant_id else redirect("vendor", only.vendor_id)
    return plain_page(request, "broker/places.html", places=found)
