"""A tenant's admin rotates a secret with a mouse, without script, and sees how it stands."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from broker import services
from broker.models import TenantSecret
from tests.broker.factories import BY, secret, settle
from tests.browser.conftest import Wire
from tests.browser.portal import portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("width", [1200, 375])
def test_rotates_a_secret(live_server: Any, page: Page, wire: Wire, width: int) -> None:
    acme = portal(live_server.url)
    config = services.allocate_config(tenant=acme.tenant, kind="kms", label="Production key", by=BY)
    made = secret(config, "patients/" + "very-long-path/" * 20)
    page.set_viewport_size({"width": width, "height": 900})
    acme.sign_in(page, "secrets/")
    page.get_by_role("button", name="Begin rotation").click()
    expect(page.get_by_text("In rotation")).to_be_visible()
    secret(config, made.path)
    settle(acme.tenant)
    page.reload()
    page.get_by_text("Commit", exact=True).click()
    page.get_by_role("button", name="Commit rotation").click()
    expect(page.get_by_text("kept, and used by no proxy")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    states = dict(TenantSecret.objects.values_list("number", "state"))
    assert states == {made.number: "archived", made.number + 1: "current"}
    assert wire.complaints == []
