"""The sample SaaS beyond saving and reading: search, photos, a policy, an API, an export, a move, the admin."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from PIL import Image

from encrypted_fields import documents
from encrypted_fields.documents import Metadata
from encrypted_fields.testing import MemoryTsp, assert_encrypted
from examples.clinic import settings as clinic
from examples.clinic.models import Patient
from tests.examples.test_clinic import ADA, _as_the_clinic, _staff, _text, tsp

__all__ = ["_as_the_clinic", "tsp"]  # fixtures
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _policy(settings: Any) -> None:
    settings.CMK_POLICY_TABLE = clinic.CMK_POLICY_TABLE
    settings.CMK_REASON_FROM_REQUEST = clinic.CMK_REASON_FROM_REQUEST


def _picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(data, "PNG")
    return data.getvalue()


def _people(client: Client) -> None:
    for reference, name, born, phone in (
        ("N-1", "Ada Northwind", "1961-04-12", "+49 30 901820"),
        ("N-2", "Adrian Berg", "1950-01-02", "+49 30 554433"),
        ("N-3", "Zoë Adams", "1999-12-24", ""),
    ):
        client.post("/add/", {**ADA, "reference": reference, "name": name, "born": born, "phone": phone})


def _shown(client: Client, query: str) -> list[str]:
    return re.findall(r">(N-\d)</a>", _text(client.get(f"/?{query}")))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("ada northwind", ["N-1"]),
        ("ADR", ["N-2"]),
        ("Adr", ["N-2"]),
        ("adrianna", []),
        ("1820", ["N-1"]),
        ("30 554433", ["N-2"]),
        ("n-3", ["N-3"]),
        ("zoë ad", ["N-3"]),
        ("ad", []),
        ("nobody", []),
    ],
)
def test_staff_search_in_what_is_encrypted(tsp: MemoryTsp, asked: str, found: list[str]) -> None:
    north = _staff("north")
    _people(north)
    assert _shown(north, f"q={asked}") == found


def test_staff_order_by_what_is_encrypted(tsp: MemoryTsp) -> None:
    north = _staff("north")
    _people(north)
    assert _shown(north, "order=name") == ["N-1", "N-2", "N-3"]
    assert _shown(north, "order=born") == ["N-2", "N-1", "N-3"]


def test_nobody_finds_another_clinics_patients(tsp: MemoryTsp) -> None:
    north, south = _staff("north"), _staff("south")
    _people(north)
    assert _shown(south, "q=ada northwind") == []


def test_a_search_after_access_was_withdrawn_shows_locked_rows(tsp: MemoryTsp) -> None:
    north = _staff("north")
    _people(north)
    tsp.revoke("north")
    page = _text(north.get("/?q=ada northwind"))
    assert "Access withdrawn by the customer" in page
    assert "Northwind" not in page.replace("ada northwind", "")


def test_a_photo_is_stored_sealed_and_shown(tsp: MemoryTsp, tmp_path: Any) -> None:
    north, picture = _staff("north"), _picture()
    north.post("/add/", {**ADA, "photo": SimpleUploadedFile("ada.png", picture, "image/png")})
    patient = Patient.objects.get()
    reply = north.get(f"/patients/{patient.pk}/photo/")
    assert b"".join(reply.streaming_content) == picture
    assert reply["Content-Type"] == "image/png"
    assert "ada" not in patient.photo.name
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"PNG" in file.read_bytes()]
    assert _staff("south").get(f"/patients/{patient.pk}/photo/").status_code == 404


def test_the_front_desk_does_not_read_medical_notes(tsp: MemoryTsp) -> None:
    north = _staff("north")
    north.post("/add/", ADA)
    patient = Patient.objects.get()
    user = get_user_model().objects.create_user("desk@example.com", "a-long-password")
    user.staff = type(patient.clinic.staff_set.get())(user=user, clinic=patient.clinic)
    user.staff.save()
    desk = Client()
    desk.force_login(user)
    page = _text(desk.get(f"/patients/{patient.pk}/"))
    assert "the front desk does not see medical notes" in page
    assert "Northwind" in page
    assert "penicillin" not in page
    (event,) = tsp.events
    assert event.event == "DATA_DENY_ACCESS"
    assert event.about.requesting_id == "desk@example.com"
    assert "penicillin" in _text(north.get(f"/patients/{patient.pk}/"))


def test_the_trail_says_what_for(tsp: MemoryTsp) -> None:
    north = _staff("north")
    north.post("/add/", ADA)
    assert {call.about.custom["reason"] for call in tsp.calls} == {"care"}


def test_other_programs_get_the_patients_and_the_locked_ones_marked(tsp: MemoryTsp) -> None:
    north = _staff("north")
    north.post("/add/", {**ADA, "phone": "12345"})
    (found,) = north.get("/api/patients/").json()
    assert (found["name"], found["born"], found["phone"]) == (ADA["name"], "1961-04-12", "12345")
    tsp.revoke("north")
    (found,) = north.get("/api/patients/").json()
    assert found["name"] is None
    assert "name" in found["_locked"]
    assert Client().get("/api/patients/").status_code in (302, 403)


def test_an_export_opens_for_a_client_of_the_clinic_and_for_nobody_else(tsp: MemoryTsp) -> None:
    north = _staff("north")
    north.post("/add/", ADA)
    sealed = north.get(f"/patients/{Patient.objects.get().pk}/export/").content
    assert b"Northwind" not in sealed
    opened = json.loads(documents.attached.decrypt(sealed, Metadata("north", "a-program")))
    assert opened["name"] == ADA["name"]
    tsp.revoke("north")
    assert north.get(f"/patients/{Patient.objects.get().pk}/export/").status_code == 403


def test_what_lies_in_clear_from_an_earlier_version_is_sealed_by_one_command(tsp: MemoryTsp) -> None:
    north = _staff("north")
    north.post("/add/", {**ADA, "city": "Kiel"})
    patient = Patient.objects.get()
    assert_encrypted(patient, "city")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE clinic_patient SET city = 'Bremen', city_encrypted = NULL")
    assert "Bremen" in _text(north.get(f"/patients/{patient.pk}/"))
    call_command("encrypt_existing", model=["clinic.Patient"], stdout=io.StringIO())
    with connection.cursor() as cursor:
        cursor.execute("SELECT city, city_encrypted FROM clinic_patient")
        clear, sealed = cursor.fetchone()
    assert clear is None
    assert b"Bremen" not in bytes(sealed)
    assert "Bremen" in _text(north.get(f"/patients/{patient.pk}/"))
