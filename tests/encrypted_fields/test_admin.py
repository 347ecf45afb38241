"""Masked lists and pages; a reveal needs permission, a reason, and an event that the customer has first."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client, override_settings

from encrypted_fields.admin import EncryptedInline
from encrypted_fields.core.errors import TspUnreachable
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.encrypted_fields import admin_site
from tests.encrypted_fields.people import person
from tests.sample_app.models import Clinic, Patient, Visit

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.encrypted_fields.admin_site")]
CANARY = "canary-7f3a"
BADGE = "Access withdrawn by the customer"


def client_with(*permissions: str) -> Client:
    user = get_user_model().objects.create(email="op@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def page_of(one: Patient) -> str:
    return f"/ward/sample_app/patient/{one.pk}/change/"


def reveal(client: Client, one: Patient, reason: str = "ticket 4711") -> Any:
    return client.post(f"/ward/sample_app/patient/{one.pk}/reveal/", {"reason": reason}, follow=True)


ALL = ("view_patient", "change_patient", "reveal_patient")


def test_a_list_is_masked_and_opens_nothing(cmk_tsp: MemoryTsp) -> None:
    for n in range(3):
        person(diagnosis=CANARY, name=f"n{n}")
    person(diagnosis=None, born=None)
    client = client_with("view_patient")
    with counted(cmk_tsp) as calls:
        page = client.get("/ward/sample_app/patient/").content.decode()
    assert CANARY not in page
    assert "1990" not in page
    assert page.count("••••••••") == 6
    assert page.count('class="field-diagnosis"') == 4
    assert [(call.route, call.count) for call in calls] == [("unwrap", 1)]  # one key says whether access was withdrawn
    assert calls[0].about.custom == {"reason": "is access withdrawn?"}
    assert calls[0].about.requesting_id == str(get_user_model().objects.get().pk)


def test_a_page_is_masked_and_saving_it_touches_no_value(cmk_tsp: MemoryTsp) -> None:
    one = person(diagnosis=CANARY)
    before = stored_bytes(one, "diagnosis")
    client = client_with("view_patient", "change_patient")
    page = client.get(page_of(one)).content.decode()
    assert CANARY not in page
    assert "Reveal encrypted values" not in page  # no permission
    done = client.post(page_of(one), {"tenant_id": "north", "name": "Bea", "diagnosis": "overwritten"})
    assert done.status_code == 302
    assert Patient.objects.get().name == "Bea"
    assert stored_bytes(one, "diagnosis") == before
    # not even by the address that a revealed page posts to
    data = {"tenant_id": "north", "name": "Cas", "diagnosis": "overwritten", "born": "2001-01-01", "file_number": "1"}
    assert client.post(f"{page_of(one)}?_revealed=1", data).status_code == 302
    assert stored_bytes(one, "diagnosis") == before


def test_a_reveal_is_told_first_and_shows_one_page_once(cmk_tsp: MemoryTsp) -> None:
    one = person(diagnosis=CANARY)
    client = client_with(*ALL)
    assert "Reveal encrypted values" in client.get(page_of(one)).content.decode()
    with counted(cmk_tsp) as calls:
        shown = reveal(client, one)
    assert CANARY in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    assert [call.route for call in calls if call.about.custom["reason"] == "ticket 4711"] == [
        "security_event",
        "unwrap",
    ]
    (told,) = cmk_tsp.events
    assert (told.event, told.about.object_id, told.about.tenant) == ("CUSTOM_REVEAL", str(one.pk), "north")
    assert told.about.custom == {
        "reason": "ticket 4711",
        "fields": "diagnosis,born,file_number",
        "where": "admin",
    }
    assert CANARY not in client.get(page_of(one)).content.decode()  # again: masked


def test_what_was_revealed_can_be_edited(cmk_tsp: MemoryTsp) -> None:
    one = person(diagnosis=CANARY, file_number=7)
    client = client_with(*ALL)
    page = reveal(client, one).content.decode()
    assert f'action="{page_of(one)}?_revealed=1"' in page
    data = {"tenant_id": "north", "name": "Ann", "diagnosis": "cold", "born": "1990-05-17", "file_number": "7"}
    assert client.post(f"{page_of(one)}?_revealed=1", data).status_code == 302
    assert Patient.objects.get().diagnosis == "cold"
    entry = LogEntry.objects.get()
    assert "cold" not in entry.change_message + entry.object_repr


def test_a_viewer_with_the_permission_sees_and_cannot_edit(cmk_tsp: MemoryTsp) -> None:
    one = person(diagnosis=CANARY)
    page = reveal(client_with("view_patient", "reveal_patient"), one).content.decode()
    assert CANARY in page
    assert 'name="diagnosis"' not in page


def test_no_permission_no_reason_no_event_no_policy_no_value(cmk_tsp: MemoryTsp) -> None:
    one = person(diagnosis=CANARY)
    assert reveal(client_with("view_patient", "change_patient"), one).status_code == 403
    get_user_model().objects.all().delete()
    assert reveal(client_with("reveal_patient"), one).status_code == 403  # may not see the row at all
    get_user_model().objects.all().delete()
    client = client_with(*ALL)
    assert client.get(f"/ward/sample_app/patient/{one.pk}/reveal/").status_code == 405
    page = reveal(client, one, "  ").content.decode()
    assert "Not revealed: say why" in page
    assert CANARY not in page
    assert cmk_tsp.events == []
    cmk_tsp.failing = TspUnreachable()
    page = reveal(client, one).content.decode()
    assert "Not revealed: the tenant security proxy did not answer." in page
    assert CANARY not in page
    cmk_tsp.failing = None
    with override_settings(CMK_POLICY_TABLE=[{"refuse": "never", "action": "reveal"}]):
        page = reveal(client, one).content.decode()
    assert "Not revealed: refused by the policy: never." in page
    assert [call.event for call in cmk_tsp.events][-1] == "DATA_DENY_ACCESS"
    assert CANARY not in client.get(page_of(one)).content.decode()


def test_a_ticket_is_for_its_row_and_its_minute(cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = person(diagnosis=CANARY), person(diagnosis=CANARY)
    client = client_with(*ALL)
    address = f"/ward/sample_app/patient/{one.pk}/reveal/"
    client.post(address, {"reason": "r"})
    assert CANARY not in client.get(page_of(other)).content.decode()
    assert CANARY in client.get(page_of(one)).content.decode()
    client.post(address, {"reason": "r"})
    monkeypatch.setattr("encrypted_fields.admin.time", lambda: datetime.datetime.now().timestamp() + 61)
    assert CANARY not in client.get(page_of(one)).content.decode()


def test_withdrawn_rows_carry_the_badge_in_list_and_page(cmk_tsp: MemoryTsp) -> None:
    one = person(diagnosis=CANARY)
    person(tenant_id="south", name="Sue")
    cmk_tsp.revoke("north")
    client = client_with(*ALL)
    page = client.get("/ward/sample_app/patient/").content.decode()
    assert page.count(BADGE) == 2  # two columns of one row
    assert page.count("••••••••") == 2
    page = client.get(page_of(one)).content.decode()
    assert page.count(BADGE) == 3  # above, and in the place of each value
    assert "Reveal encrypted values" not in page
    cmk_tsp.failing = TspUnreachable()  # an outage is no withdrawal, and no error of the list
    assert BADGE not in client.get("/ward/sample_app/patient/").content.decode()


def test_inlines_are_masked_and_lead_to_the_rows_own_page(cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    class Visits(EncryptedInline, admin.TabularInline):  # type: ignore[type-arg]
        model = Visit
        fields = ("day", "report")

    one = person()
    visit = Visit.objects.create(patient=one, clinic=Clinic.objects.create(slug="north"), report=CANARY)
    before = stored_bytes(visit, "report")
    monkeypatch.setattr(admin_site.site.get_model_admin(Patient), "inlines", [Visits])
    client = client_with(*ALL, "view_visit", "change_visit")
    page = client.get(page_of(one)).content.decode()
    assert CANARY not in page
    assert 'name="visits-0-day"' in page
    assert "visits-0-report" not in page
    data = {"tenant_id": "north", "name": "Bea", "visits-TOTAL_FORMS": 1, "visits-INITIAL_FORMS": 1}
    data |= {"visits-0-id": visit.pk, "visits-0-patient": one.pk, "visits-0-day": 5, "visits-0-report": "overwritten"}
    assert client.post(page_of(one), data).status_code == 302
    assert Visit.objects.get().day == 5
    assert stored_bytes(visit, "report") == before
    assert CANARY not in reveal(client, one).content.decode()  # a reveal is of one row


def test_a_new_row_is_typed_in(cmk_tsp: MemoryTsp) -> None:
    client = client_with("add_patient", "view_patient")
    assert 'name="diagnosis"' in client.get("/ward/sample_app/patient/add/").content.decode()
    data = {"tenant_id": "north", "name": "Ann", "diagnosis": "flu", "born": "1990-05-17", "file_number": "0"}
    assert client.post("/ward/sample_app/patient/add/", data).status_code == 302
    assert Patient.objects.get().diagnosis == "flu"


def test_an_admin_without_the_permission_declared_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model_admin = admin_site.site.get_model_admin(Patient)
    assert [one.id for one in model_admin.check()] == []
    monkeypatch.setattr(model_admin, "list_editable", ("diagnosis",))
    assert "encrypted_fields.E062" in [one.id for one in model_admin.check()]
    monkeypatch.undo()
    monkeypatch.setattr(Patient._meta, "permissions", ())
    assert [one.id for one in model_admin.check()] == ["encrypted_fields.W062"]
