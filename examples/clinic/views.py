"""The clinic's pages. Everything is asked for by the clinic that the user works at; locked values are shown as such."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from encrypted_fields import AccessRefused, Locked, documents
from encrypted_fields.core.errors import CmkError, KmsRefused
from encrypted_fields.http import encrypted_response
from encrypted_fields.tenancy import metadata
from examples.clinic.finding import MOST, find
from examples.clinic.forms import AttachmentForm, PatientForm, SearchForm
from examples.clinic.models import Attachment, Clinic, Patient
from examples.clinic.outage import RETRY

NOTICE = "Access withdrawn by the customer: {} has switched off its key, so these records cannot be read by anyone."


@require_GET
def patients(request: HttpRequest) -> HttpResponse:
    """The patients that were asked for, with one call for all their keys."""
    clinic = _clinic(request)
    form = SearchForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {"q": "", "order": ""}
    everybody = Patient.objects.filter(clinic=clinic).annotate(files=Count("attachments"))
    try:
        found = find(everybody, asked["q"].strip(), asked["order"])
    except KmsRefused:
        found = list(everybody[:MOST])  # nobody can be searched for; all are shown, as locked
    rows = [{"patient": patient, "locked": _locked(patient)} for patient in found]
    notice = NOTICE.format(clinic.title) if any(row["locked"] for row in rows) else ""
    return _page(request, "patients", clinic, rows=rows, notice=notice, form=form, asked=asked["q"])


@require_http_methods(["GET", "POST"])
def patient(request: HttpRequest, key: Any) -> HttpResponse:
    """One patient; POST adds a file."""
    clinic = _clinic(request)
    found = get_object_or_404(Patient, pk=key, clinic=clinic)
    form = AttachmentForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid() and _saved(request, form.attachment(found)):
        return redirect("patient", key=key)
    try:
        notes, refused = found.notes, False
    except AccessRefused:  # the vendor's own policy, not the clinic's key
        notes, refused = "", True
    shown = {"patient": found, "locked": _locked(found), "attachments": found.attachments.all(), "form": form}
    return _page(request, "patient", clinic, notice=NOTICE.format(clinic.title), notes=notes, refused=refused, **shown)


@require_http_methods(["GET", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """A new patient: encrypted under the clinic's key before it reaches the database."""
    clinic = _clinic(request)
    form = PatientForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid() and _saved(request, form.patient(clinic)):
        return redirect("patients")
    return _page(request, "add", clinic, form=form)


@require_safe
def attachment(request: HttpRequest, key: Any) -> HttpResponseBase:
    """A file, decrypted while it is sent; always as a download, since it came from outside."""
    clinic = _clinic(request)
    found = get_object_or_404(Attachment, pk=key, patient__clinic=clinic)
    try:
        return encrypted_response(request, found.file, filename=found.title)
    except KmsRefused:
        return _page(request, "withdrawn", clinic, status=403, notice=NOTICE.format(clinic.title))


@require_safe
def photo(request: HttpRequest, key: Any) -> HttpResponseBase:
    """The patient's photo, shown in the page."""
    clinic = _clinic(request)
    found = get_object_or_404(Patient, pk=key, clinic=clinic)
    if not found.photo:
        raise Http404
    try:
        return encrypted_response(request, found.photo, as_attachment=False)
    except KmsRefused:
        return HttpResponse(status=403)


@require_GET
def export(request: HttpRequest, key: Any) -> HttpResponse:
    """The record as one sealed document, which any client of the proxy opens, in any language (docs/documents.md)."""
    clinic = _clinic(request)
    found = get_object_or_404(Patient, pk=key, clinic=clinic)
    try:
        if _locked(found):
            raise KmsRefused
        record = {"name": found.name, "born": found.born.isoformat(), "phone": found.phone, "city": found.city}
        sealed = documents.attached.encrypt(json.dumps(record).encode(), metadata(clinic.name, "export", str(key)))
    except KmsRefused:
        return _page(request, "withdrawn", clinic, status=403, notice=NOTICE.format(clinic.title))
    headers = {"Content-Disposition": f'attachment; filename="{found.pk}.sealed"', "Cache-Control": "private, no-store"}
    return HttpResponse(sealed, content_type="application/octet-stream", headers=headers)


def _clinic(request: HttpRequest) -> Clinic:
    return get_object_or_404(Clinic, staff__user=request.user)


def _locked(found: Patient) -> str:
    """Why a patient cannot be read, as the page shows it; empty when it can."""
    return str(found.name).capitalize() if isinstance(found.name, Locked) else ""


def _saved(request: HttpRequest, row: Patient | Attachment) -> bool:
    try:
        with transaction.atomic():
            row.full_clean()
            row.save()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    except KmsRefused:
        messages.error(request, "Not saved: the clinic has switched off its key.")
    except CmkError as error:
        messages.error(request, RETRY if error.retryable else f"Not saved: {error}")
    else:
        messages.success(request, f"Saved {row}.")
        return True
    return False


def _page(request: HttpRequest, name: str, clinic: Clinic, *, status: int = 200, **shown: Any) -> HttpResponse:
    return render(request, f"clinic/{name}.html", {"clinic": clinic, **shown}, status=status)
