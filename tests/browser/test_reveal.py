"""The masked admin in Chromium: by keyboard alone, under the portal's strict policy."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from broker import services
from encrypted_fields.testing import MemoryTsp
from tests.broker.factories import BY, PASSWORD
from tests.browser.conftest import Wire
from tests.encrypted_fields.people import person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.encrypted_fields.admin_site")]
BADGE = "Access withdrawn by the customer"


def test_a_row_is_revealed_by_keyboard_and_a_withdrawn_one_carries_its_badge(
    live_server: Any, page: Page, wire: Wire
) -> None:
    vendor = services.create_vendor(name="acme", title="Acme Health", by=BY)
    services.add_operator(vendor=vendor, email="root@example.com", password=PASSWORD, superuser=True, by=BY)
    with MemoryTsp() as tsp:
        person(name="Ann", diagnosis="influenza", file_number=7)
        person(name="Sue", tenant_id="south", diagnosis="fracture")
        tsp.revoke("south")
        page.goto(f"{live_server.url}/ward/login/?next=/ward/sample_app/patient/")
        page.locator("#id_username").fill("root@example.com")
        page.locator("#id_password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("row", name="Sue")).to_contain_text(BADGE)
        expect(page.get_by_role("row", name="Ann")).to_contain_text("Hidden")
        expect(page.get_by_text("influenza")).to_have_count(0)
        page.set_viewport_size({"width": 390, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.set_viewport_size({"width": 1280, "height": 900})

        page.get_by_role("link", name="Ann").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".field-diagnosis .readonly").first).to_contain_text("Hidden")
        page.get_by_label("Reason").focus()
        expect(page.get_by_label("Reason")).to_have_accessible_description(
            "The customer sees who reveals this row, when and why."
        )
        page.keyboard.press("Enter")  # without a reason the browser keeps it back
        assert tsp.events == []
        page.keyboard.type("ticket 4711")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Reveal encrypted values")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Diagnosis")).to_have_value("influenza")
        assert [(call.event, call.about.custom["reason"]) for call in tsp.events] == [("CUSTOM_REVEAL", "ticket 4711")]

        page.reload()
        expect(page.get_by_text("influenza")).to_have_count(0)
        page.goto(f"{live_server.url}/ward/sample_app/patient/")
        page.get_by_role("link", name="Sue").click()
        expect(page.get_by_text(BADGE).first).to_be_visible()
        expect(page.get_by_role("button", name="Reveal encrypted values")).to_have_count(0)
    assert wire.complaints == [], "\n".join(wire.complaints)
