"""What is for the doctors only: sealed in one browser, opened in another. The pages never carry it in clear."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from encrypted_fields.http import encrypted_response
from encrypted_fields.sealed_forms import sealing_media
from examples.clinic.forms import PublicKeyForm, SealedNoteForm
from examples.clinic.models import Patient, Staff


@require_http_methods(["GET", "POST"])
def my_key(request: HttpRequest) -> HttpResponse:
    """A doctor makes a key pair in the browser; the public half comes here."""
    staff = get_object_or_404(Staff.objects.select_related("clinic"), user=request.user)
    form = PublicKeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save_to(staff)
        messages.success(request, "Your key is in use: from now on notes can be sealed to you.")
        return redirect("my-key")
    media = sealing_media("encrypted_fields/js/new-key.js")
    return render(request, "clinic/my_key.html", {"clinic": staff.clinic, "staff": staff, "form": form, "media": media})


@require_http_methods(["GET", "POST"])
def seal(request: HttpRequest, key: Any) -> HttpResponse:
    """Write a note or choose a file for the doctors."""
    found = _patient(request, key)
    form = SealedNoteForm(request.POST or None, request.FILES or None, instance=found)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, form.outcome)
        return redirect("patient", key=key)
    return render(request, "clinic/seal.html", {"clinic": found.clinic, "patient": found, "form": form})


@require_GET
def unseal(request: HttpRequest, key: Any) -> HttpResponse:
    """The sealed note and file, and the script that opens them with the doctor's own key."""
    found = _patient(request, key)
    media = sealing_media("encrypted_fields/js/open.js")
    return render(request, "clinic/unseal.html", {"clinic": found.clinic, "patient": found, "media": media})


@require_GET
def sealed_file(request: HttpRequest, key: Any) -> HttpResponseBase:
    """The sealed bytes, as they are stored."""
    found = _patient(request, key)
    if not found.private_file:
        raise Http404
    return encrypted_response(request, found.private_file)


def _patient(request: HttpRequest, key: Any) -> Patient:
    return get_object_or_404(Patient.objects.select_related("clinic"), pk=key, clinic__staff__user=request.user)
