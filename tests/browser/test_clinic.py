"""The sample SaaS in Chromium: search by keyboard, a photo, the front desk, a phone, a withdrawal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from encrypted_fields.testing import MemoryTsp
from examples.clinic import settings as clinic_settings
from examples.clinic.models import Staff
from tests.browser.conftest import Wire
from tests.browser.seeing import stumbles, walked
from tests.browser.test_client_sealed import World, _as_the_clinic, make_key, write

__all__ = ["_as_the_clinic"]  # a fixture
pytestmark = pytest.mark.django_db(transaction=True)
PHONE = {"width": 375, "height": 720}


@pytest.fixture
def tsp(_as_the_clinic: MemoryTsp) -> MemoryTsp:
    return _as_the_clinic


@pytest.fixture
def world(tsp: MemoryTsp, settings: Any, live_server: Any) -> Iterator[World]:
    """The session's server, with the clinic's middleware: it had read its own before these settings."""
    settings.CMK_POLICY_TABLE = clinic_settings.CMK_POLICY_TABLE
    settings.CMK_REQUESTING_ID_FROM_REQUEST = clinic_settings.CMK_REQUESTING_ID_FROM_REQUEST
    server = live_server.thread.httpd
    before = server.get_app()
    server.set_app(StaticFilesHandler(WSGIHandler()))
    yield World(live_server.url)
    server.set_app(before)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    data = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((320, 240)).save(data, "JPEG")
    path = tmp_path / "ada.jpg"
    path.write_bytes(data.getvalue())
    return path


def add(page: Page, world: World, photo: Path) -> None:
    """By keyboard and file chooser, as a nurse does it."""
    world.sign_in(page, "nurse", "/add/")
    page.get_by_label("Reference").fill("N-7")
    page.get_by_label("Name").fill("Ada Northwind")
    page.get_by_label("Date of birth").fill("1961-04-12")
    page.get_by_label("Phone").fill("+49 30 901820")
    page.get_by_label("City").fill("Kiel")
    page.get_by_label("Photo").set_input_files(photo)
    page.get_by_label("Notes").fill("Allergic to penicillin.")
    page.get_by_label("Notes").press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Saved N-7")


def test_a_patient_with_a_photo_is_added_found_and_exported(world: World, page: Page, wire: Wire, photo: Path) -> None:
    add(page, world, photo)
    page.get_by_label("Search").focus()
    page.keyboard.type("ada n")
    page.keyboard.press("Enter")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Ada Northwind")
    page.get_by_label("Search").fill("1820")
    page.get_by_label("Order").select_option("born")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="N-7").click()
    shown = page.get_by_role("img", name="Photo of Ada Northwind")
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 320
    expect(page.get_by_text("Allergic to penicillin.")).to_be_visible()
    expect(page.get_by_text("Kiel")).to_be_visible()
    with page.expect_download() as saving:
        page.get_by_role("link", name="Export, sealed").click()
    assert b"Northwind" not in saving.value.path().read_bytes()
    assert wire.complaints == [], "\n".join(wire.complaints)


def test_the_front_desk_is_told_why_notes_are_missing(world: World, page: Page, wire: Wire, photo: Path) -> None:
    add(page, world, photo)
    user = get_user_model().objects.create_user("desk@north.example", "a-long-password")
    Staff.objects.create(user=user, clinic=world.ada.clinic)
    world.sign_in(page, "desk", "/")
    page.get_by_role("link", name="N-7").click()
    expect(page.get_by_text("Not for you to read")).to_be_visible()
    expect(page.get_by_text("penicillin")).to_have_count(0)
    expect(page.get_by_role("heading", name="N-7")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert wire.complaints == [], "\n".join(wire.complaints)


def test_every_page_fits_a_phone_also_when_access_is_withdrawn(
    world: World, browser: Browser, tsp: MemoryTsp, photo: Path
) -> None:
    context = browser.new_context(viewport=PHONE, locale="en-GB", is_mobile=True, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(15_000)
    try:
        add(page, world, photo)
        for withdrawn in (False, True):
            if withdrawn:
                tsp.revoke("north")
            for path in ("/", "/?q=ada", "/add/", f"/patients/{world.ada.pk}/"):
                page.goto(world.url + path)
                page.wait_for_load_state("networkidle")  # nobody asks the server when the test is over
                assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
            expect(page.get_by_text("Access withdrawn by the customer").first).to_be_visible(visible=withdrawn)
    finally:
        context.close()


def test_every_page_can_be_seen_and_walked(
    world: World, page: Page, tsp: MemoryTsp, photo: Path, tmp_path: Path, settings: Any
) -> None:
    """In light and dark, on a desk and on a phone, with and without access."""
    add(page, world, photo)
    make_key(world, page, tmp_path)
    write(world, page, "a note", photo)
    settings.ALLOWED_HOSTS = ["localhost"]
    ada = f"/patients/{world.ada.pk}/"
    paths = ["/", "/?q=nobody", "/add/", ada, f"{ada}seal/", f"{ada}sealed/", "/key/", "/nothing/"]
    world.sign_in(page, "doctor", "/")
    for scheme, size in (("light", PHONE), ("dark", {"width": 1280, "height": 900})):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for path in paths:
            page.goto(world.url + path)
            expect(page.locator("[data-cmk-waits]:disabled")).to_have_count(0)
            assert stumbles(page) == [], (scheme, path)
            assert len(walked(page)) >= page.locator("main :is(a, button, input, select, textarea):visible").count() - 1
    page.goto(f"{world.url}/add/")
    page.evaluate("document.querySelector('main form').noValidate = true")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("This field is required")).to_have_count(3)
    described = page.get_by_label("Reference").get_attribute("aria-describedby") or ""
    assert page.locator(f"#{described}").text_content() == "This field is required."
    assert stumbles(page) == []
    tsp.revoke("north")
    for path in ("/", ada):
        page.goto(world.url + path)
        assert stumbles(page) == []
    page.context.clear_cookies()
    page.goto(f"{world.url}/login/")
    assert stumbles(page) == []
