"""The sample SaaS as its staff use it: encrypted rows and files, other clinics out of sight, locked rows shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from encrypted_fields.core.errors import KmsUnreachable
from encrypted_fields.testing import MemoryTsp
from examples.clinic.models import Attachment, Clinic, Patient, Staff

pytestmark = pytest.mark.django_db
ADA = {"reference": "N-1", "name": "Ada <Northwind>", "born": "1961-04-12", "notes": "Allergic to penicillin."}
WITHDRAWN = "Access withdrawn by the customer"


@pytest.fixture
def tsp() -> Iterator[MemoryTsp]:
    with MemoryTsp() as found:
        yield found


@pytest.fixture(autouse=True)
def _as_the_clinic(settings: Any, tmp_path: Path) -> None:
    settings.ROOT_URLCONF = "examples.clinic.urls"
    settings.MEDIA_ROOT = tmp_path
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": []}]
    settings.LOGIN_URL, settings.LOGIN_REDIRECT_URL, settings.LOGOUT_REDIRECT_URL = "login", "patients", "login"
    settings.MIDDLEWARE = [
        *(name for name in settings.MIDDLEWARE if not name.startswith("csp.")),
        "encrypted_fields.middleware.CmkMiddleware",
        "examples.clinic.outage.OutagePage",
    ]
    settings.CMK_TENANT_FROM_REQUEST = "examples.clinic.tenancy.clinic_of"
    settings.CMK_REQUESTING_ID_FROM_REQUEST = "examples.clinic.tenancy.person_of"


def _staff(name: str) -> Client:
    clinic = Clinic.objects.create(name=name, title=f"{name.title()}side Clinic")
    user = get_user_model().objects.create_user(f"{name}@example.com", "a-long-password")
    Staff.objects.create(user=user, clinic=clinic)
    client = Client()
    client.force_login(user)
    return client


def _text(reply: Any) -> str:
    assert reply.status_code == 200, reply.status_code
    return str(reply.content.decode())


def test_a_patient_is_saved_encrypted_and_read_in_clear(tsp: MemoryTsp) -> None:
    north = _staff("north")
    page = _text(north.post("/add/", ADA, follow=True))
    assert "Ada &lt;Northwind&gt;" in page
    assert "12 April 1961" in page
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, born, notes FROM clinic_patient")
        stored = b"".join(bytes(value) for value in cursor.fetchone())
    assert not [text for text in ("Northwind", "1961", "penicillin") if text.encode() in stored]
    assert {call.about.tenant for call in tsp.calls} == {"north"}
    assert {call.about.requesting_id for call in tsp.calls} == {"north@example.com"}


def test_a_file_is_stored_encrypted_and_comes_back_whole(tsp: MemoryTsp, tmp_path: Path) -> None:
    north = _staff("north")
    north.post("/add/", ADA)
    letter = b"Dear colleague, " * 9000
    page = f"/patients/{Patient.objects.get().pk}/"
    assert "Letter" in _text(
        north.post(page, {"title": "Letter", "file": SimpleUploadedFile("l.txt", letter)}, follow=True)
    )
    reply = north.get(f"/attachments/{Attachment.objects.get().pk}/")
    assert b"".join(reply.streaming_content) == letter
    assert reply["Content-Disposition"] == 'attachment; filename="Letter"'
    part = north.get(f"/attachments/{Attachment.objects.get().pk}/", headers={"Range": "bytes=70000-70009"})
    assert (part.status_code, b"".join(part.streaming_content)) == (206, letter[70_000:70_010])
    assert part["Cache-Control"] == "private, no-store"
    stored = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert stored
    assert not [content for content in stored if b"colleague" in content]


def test_another_clinic_sees_nothing_of_it(tsp: MemoryTsp) -> None:
    north, south = _staff("north"), _staff("south")
    north.post("/add/", ADA)
    north.post(f"/patients/{Patient.objects.get().pk}/", {"title": "L", "file": SimpleUploadedFile("l.txt", b"text")})
    assert "N-1" not in _text(south.get("/"))
    assert south.get(f"/patients/{Patient.objects.get().pk}/").status_code == 404
    assert south.get(f"/attachments/{Attachment.objects.get().pk}/").status_code == 404


def test_withdrawn_access_is_shown_and_loses_nothing(tsp: MemoryTsp) -> None:
    """R-34: rows of a tenant that withdrew its key are shown as locked, and open again unharmed."""
    north, south = _staff("north"), _staff("south")
    north.post("/add/", ADA)
    south.post("/add/", {**ADA, "reference": "S-1", "name": "Carla Southgate"})
    patient = Patient.objects.get(reference="N-1")
    north.post(f"/patients/{patient.pk}/", {"title": "L", "file": SimpleUploadedFile("l.txt", b"text")})
    tsp.revoke("north")
    for page in ("/", f"/patients/{patient.pk}/"):
        shown = _text(north.get(page))
        assert WITHDRAWN in shown
        assert "Northwind" not in shown
    assert north.get(f"/attachments/{Attachment.objects.get().pk}/").status_code == 403
    assert "Not saved" in _text(north.post("/add/", {**ADA, "reference": "N-2"}))
    assert Patient.objects.filter(reference="N-2").count() == 0
    assert "Carla Southgate" in _text(south.get("/"))
    tsp.restore("north")
    assert "Northwind" in _text(north.get("/"))


def test_an_outage_is_not_shown_as_a_withdrawal(tsp: MemoryTsp) -> None:
    north = _staff("north")
    tsp.failing = KmsUnreachable()
    shown = _text(north.post("/add/", ADA))
    assert "does not answer at the moment" in shown
    assert WITHDRAWN not in shown
    tsp.failing = None
    north.post("/add/", ADA)
    tsp.failing = KmsUnreachable()
    reply = north.get("/")
    assert reply.status_code == 503
    assert "does not answer at the moment" in reply.content.decode()


def test_a_form_with_mistakes_says_which() -> None:
    north = _staff("north")
    assert "Enter a valid date" in _text(north.post("/add/", {**ADA, "born": "yesterday"}))


def test_nobody_gets_in_without_signing_in() -> None:
    for page in ("/", "/add/"):
        reply = Client().get(page)
        assert reply.status_code == 302
        assert reply["Location"].startswith("/login/")
