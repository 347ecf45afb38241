"""Whose request it is, and whose name the tenant's audit trail shows for it."""

from __future__ import annotations

from django.http import HttpRequest

from examples.clinic.models import Clinic


def clinic_of(request: HttpRequest) -> str | None:
    """The tenant of everything in this request: rows of any other clinic are refused, even if a view made a mistake."""
    if not request.user.is_authenticated:
        return None
    return Clinic.objects.filter(staff__user=request.user).values_list("name", flat=True).first()


def reason_of(request: HttpRequest) -> str:
    """Why, in the tenant's trail: what this part of the program is for."""
    return "administration" if request.path.startswith("/admin/") else "care"


def person_of(request: HttpRequest) -> str | None:
    """The login of the member of staff."""
    return request.user.get_username() if request.user.is_authenticated else None
