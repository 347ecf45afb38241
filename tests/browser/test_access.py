"""The portal without a mouse, on a telephone, in the dark, and in anybody's brand."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from broker.models import ConfigVersion
from tests.browser.conftest import Wire
from tests.browser.portal import Portal, portal
from tests.browser.seeing import stumbles, walked

pytestmark = pytest.mark.django_db(transaction=True)
PATHS = ("", "kms/", "siem/", "secrets/", "history/", "members/", "activity/")


@pytest.fixture
def acme(live_server: Any) -> Portal:
    return portal(live_server.url)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until `selector` has the focus; its ring must be visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"{selector} cannot be reached with the Tab key")


def test_can_be_used_with_the_keyboard_alone(acme: Portal, page: Page) -> None:
    acme.sign_in(page, "kms/")
    expect(page.locator("#fields")).to_be_visible()
    tab_to(page, "#label")
    page.keyboard.type("By keyboard")
    tab_to(page, "#provider")
    page.keyboard.type("AWS")
    for name in ("key_arn", "region", "access_key_id", "secret_access_key"):
        tab_to(page, f"#option-{name}")
        page.keyboard.type(f"typed {name}")
    tab_to(page, "#compared")
    page.keyboard.press("Space")
    tab_to(page, "#seal")
    page.keyboard.press("Enter")
    expect(page.locator("#step-stored")).to_have_class("done")
    assert page.evaluate("document.activeElement.id") == "progress"
    assert ConfigVersion.objects.get().config.label == "By keyboard"


def test_skips_to_the_content(acme: Portal, page: Page) -> None:
    acme.sign_in(page)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_telephone(acme: Portal, page: Page, scheme: Any) -> None:
    page.set_viewport_size({"width": 375, "height": 740})
    page.emulate_media(color_scheme=scheme)
    acme.sign_in(page)
    for path in PATHS:
        page.goto(f"{acme.url}/tenants/{acme.tenant.pk}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_seen_and_walked(acme: Portal, page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 740})
    page.goto(f"{acme.url}/login/")
    assert stumbles(page) == []
    acme.sign_in(page)
    for path in PATHS:
        page.goto(f"{acme.url}/tenants/{acme.tenant.pk}/{path}")
        page.wait_for_load_state("networkidle")
        assert stumbles(page) == [], path
        assert len(walked(page)) >= 10, path


def test_names_every_control(acme: Portal, page: Page) -> None:
    """Whoever hears the page instead of seeing it is told what each field is."""
    acme.sign_in(page, "kms/")
    expect(page.locator("#fields")).to_be_visible()
    for provider in page.locator("#provider option").all():
        page.get_by_label("Provider").select_option(provider.get_attribute("value"))
        unnamed = page.evaluate(
            "[...document.querySelectorAll('main input:not([type=hidden]), main select, main textarea')]"
            ".filter(each => !each.labels?.length).map(each => each.id)"
        )
        assert unnamed == []


def test_seals_where_the_log_goes(acme: Portal, page: Page, wire: Wire) -> None:
    acme.sign_in(page, "siem/")
    page.get_by_label("Name", exact=True).fill("Security team")
    page.get_by_label("Provider").select_option("splunk")
    for field in page.locator("#options input:required").all():
        kind = field.get_attribute("type")
        field.fill("7" if kind == "number" else "https://splunk.example")
    page.get_by_label("I have compared the fingerprints").check()
    page.get_by_role("button", name="Seal and send").click()
    expect(page.locator("#step-stored")).to_have_class("done")
    [record] = acme.proxy.records()
    assert record.kind == "siem"
    assert wire.complaints == []
