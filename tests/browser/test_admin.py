"""The operators' administration works under the same strict policy."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from broker import services
from broker.models import ProxyKey
from tests.broker.factories import BY, PASSWORD
from tests.browser.conftest import Wire

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_operator_registers_a_key_and_issues_a_token(live_server: Any, page: Page, wire: Wire) -> None:
    vendor = services.create_vendor(name="acme", title="Acme Health", by=BY)
    services.add_operator(vendor=vendor, email="root@example.com", password=PASSWORD, superuser=True, by=BY)
    page.goto(f"{live_server.url}/admin/login/?next=/admin/broker/proxykey/add/")
    page.locator("#id_username").fill("root@example.com")
    page.locator("#id_password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_label("Vendor").select_option("Acme Health")
    page.get_by_label("Label").fill("eu-west")
    page.get_by_label("Public key").fill(base64.b64encode(b"k" * 32).decode())
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    page.get_by_label("Select this object for an action").check()
    page.locator("select[name=action]").select_option("retire")
    page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).click()
    expect(page.get_by_text("1 retired")).to_be_visible()
    assert ProxyKey.objects.get().state == "retired"
    page.goto(f"{live_server.url}/admin/broker/servicetoken/add/")
    page.get_by_label("Vendor").select_option("Acme Health")
    page.get_by_label("Label").fill("eu-west")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("code").first).to_contain_text("cmkp.")
    assert wire.complaints == [], "\n".join(wire.complaints)
