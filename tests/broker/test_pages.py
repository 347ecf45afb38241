"""The pages: whose brand, which headers, and what they say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings as project
from django.core.checks import run_checks
from django.test import Client
from django.urls import reverse

from broker import checks, services
from broker.colours import DARK, ENOUGH, LIGHT, contrast, readable
from broker.models import Config, Tenant, Vendor
from broker.pictures import media_type
from tests.broker.factories import BY, PASSWORD, MemberFactory, TenantFactory, publish

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def at(name: str, tenant: Tenant, **more: Any) -> str:
    return reverse(name, kwargs={"tenant": tenant.pk, **more})


def test_the_login_page_wears_the_vendors_brand(settings: Any, vendor: Vendor) -> None:
    settings.CMK_VENDOR = vendor.name
    services.restyle_vendor(vendor=vendor, title="Acme Health", colour="#0f766e", logo=PNG, by=BY)
    page = Client().get(reverse("login")).content.decode()
    assert "Acme Health" in page
    assert reverse("logo", args=[vendor.pk]) in page
    sheet = Client().get(reverse("colours", args=[vendor.pk]))
    assert "--brand:#0f766e" in sheet.content.decode()
    assert sheet["Content-Type"].startswith("text/css")
    picture = Client().get(reverse("logo", args=[vendor.pk]))
    assert (picture["Content-Type"], picture.content) == ("image/png", PNG)
    again = Client().get(reverse("logo", args=[vendor.pk]), headers={"If-None-Match": picture["ETag"]})
    assert again.status_code == 304


def test_a_vendor_without_a_logo_has_none(vendor: Vendor) -> None:
    assert Client().get(reverse("logo", args=[vendor.pk])).status_code == 404


def test_signs_in_whatever_the_case_of_the_address(tenant: Tenant) -> None:
    member = MemberFactory(tenant=tenant, email="dana@example.com")
    client = Client()
    response = client.post(reverse("login"), {"username": "Dana@Example.com", "password": PASSWORD})
    assert response.status_code == 302
    assert client.get("/").headers["Location"] == at("dashboard", tenant)
    assert client.session["_auth_user_id"] == str(member.user.pk)


def test_says_the_same_to_a_wrong_password_and_to_nobody(tenant: Tenant) -> None:
    member = MemberFactory(tenant=tenant)
    pages = []
    for email in (member.user.email, "nobody@example.com"):
        response = Client().post(reverse("login"), {"username": email, "password": "wrong"})
        assert response.status_code == 200
        text = response.content.decode().replace(email, "")
        pages.append(re.sub(r'value="\w+"', "", text))
    assert pages[0] == pages[1]
    assert "do not match" in pages[0]


def test_never_leads_to_another_site_after_the_login(tenant: Tenant) -> None:
    member = MemberFactory(tenant=tenant)
    said = {"username": member.user.email, "password": PASSWORD, "next": "https://evil.example/"}
    assert Client().post(reverse("login"), said).headers["Location"] == "/"


def test_home_offers_a_choice_to_whoever_has_several_places(tenant: Tenant) -> None:
    member = MemberFactory(tenant=tenant)
    other = TenantFactory(vendor=tenant.vendor, title="The other clinic")
    services.add_member(tenant=other, email=member.user.email, by=BY)
    services.add_operator(vendor=tenant.vendor, email=member.user.email, by=BY)
    client = Client()
    client.force_login(member.user)
    page = client.get("/").content.decode()
    for address in (at("dashboard", tenant), at("dashboard", other), reverse("vendor", args=[tenant.vendor_id])):
        assert address in page


def test_home_tells_somebody_without_a_place_what_to_do() -> None:
    member = MemberFactory()
    user = member.user
    member.delete()
    client = Client()
    client.force_login(user)
    assert "not a member of any tenant yet" in client.get("/").content.decode()


def test_every_page_has_the_headers_that_protect_it(admin: Client, tenant: Tenant) -> None:
    """T-3"""
    for address in (at("dashboard", tenant), at("sealing", tenant, kind="kms"), reverse("login"), "/nowhere/"):
        response = admin.get(address)
        policy = response["Content-Security-Policy"]
        for part in ("default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"):
            assert part in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe-inline" not in policy
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["X-Frame-Options"] == "DENY"
        assert response["Referrer-Policy"] == "same-origin"
        assert response["Cross-Origin-Opener-Policy"] == "same-origin"


def test_no_page_is_kept_by_a_cache(admin: Client, tenant: Tenant) -> None:
    assert admin.get(at("dashboard", tenant))["Cache-Control"] == "no-store"


def test_no_page_has_an_inline_script_or_style(admin: Client, tenant: Tenant, config: Config) -> None:
    publish(config)
    for name, more in (("dashboard", {}), ("sealing", {"kind": "kms"}), ("sealing", {"kind": "siem"}), ("history", {})):
        page = admin.get(at(name, tenant, **more)).content.decode()
        assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|<style|\son\w+=|javascript:", page)
        assert not re.search(r"(src|href)=\"(https?:)?//", page)


def test_the_dashboard_tells_how_it_stands(viewer: Client, tenant: Tenant, config: Config) -> None:
    assert "No key service yet" in viewer.get(at("dashboard", tenant)).content.decode()
    publish(config)
    page = viewer.get(at("dashboard", tenant)).content.decode()
    assert "Production key" in page
    assert "Waiting for a proxy" in page


def test_a_viewer_is_offered_no_form(viewer: Client, tenant: Tenant, config: Config) -> None:
    publish(config)
    page = viewer.get(at("sealing", tenant, kind="kms")).content.decode()
    assert 'id="sealing"' not in page
    assert "libsodium" not in page
    assert reverse("switch", kwargs={"tenant": tenant.pk, "number": config.number}) not in page


def test_history_names_each_version_and_its_author(admin: Client, tenant: Tenant, config: Config) -> None:
    first, second = publish(config), publish(config)
    page = admin.get(at("history", tenant)).content.decode()
    assert first.hash in page
    assert second.hash in page
    assert "a command" in page


def test_activity_goes_on_over_pages(admin: Client, tenant: Tenant, config: Config) -> None:
    for number in range(15):
        services.set_config_enabled(config=config, enabled=bool(number % 2), by=BY)
        publish(config)
    page = admin.get(at("activity", tenant)).content.decode()
    assert "Page 1 of 2" in page
    assert "Tenant created:" in admin.get(at("activity", tenant), {"page": 2}).content.decode()


def test_switching_off_and_on_is_a_form_without_script(admin: Client, tenant: Tenant, config: Config) -> None:
    publish(config)
    address = at("switch", tenant, number=config.number)
    for said, enabled in (("off", False), ("on", True)):
        assert admin.post(address, {"enabled": said}).status_code == 302
        config.refresh_from_db()
        assert config.enabled is enabled
    assert admin.post(address, {"enabled": "maybe"}).status_code == 400


def test_an_operator_sees_how_tenants_stand_and_nothing_of_what_they_sealed(
    operator: Client, tenant: Tenant, config: Config
) -> None:
    made = publish(config)
    page = operator.get(reverse("vendor", args=[tenant.vendor_id])).content.decode()
    assert tenant.title in page
    assert "Waiting for a proxy" in page
    assert made.hash not in page
    assert not any(box in page for box in made.boxes.values())


@pytest.mark.parametrize("colour", ["#ffff00", "#000000", "#ffffff", "#0f766e", "#ff0000", "#7f7f7f", "#00ffff"])
@pytest.mark.parametrize("ground", [LIGHT, DARK])
def test_any_colour_can_be_read(colour: str, ground: str) -> None:
    """WCAG 1.4.3"""
    assert contrast(readable(colour, ground), ground) >= ENOUGH


def test_a_readable_colour_is_left_alone() -> None:
    assert readable("#0f766e", LIGHT) == "#0f766e"
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"<svg/>", None),
        (b"", None),
        (PNG + bytes(65_536), None),
    ],
)
def test_tells_pictures_by_their_first_bytes(data: bytes, kind: str | None) -> None:
    assert media_type(data) == kind


def test_a_missing_library_is_named_with_the_fix(settings: Any) -> None:
    settings.STATICFILES_DIRS = []
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.AppDirectoriesFinder"]
    [found] = checks.sealing_library(app_configs=None)
    assert found.id == "broker.W001"
    assert "npm run vendor" in str(found.hint)


def test_pages_that_are_open_by_default_stop_the_start(settings: Any) -> None:
    settings.MIDDLEWARE = [each for each in project.MIDDLEWARE if "LoginRequired" not in each]
    assert "broker.E001" in [message.id for message in run_checks(tags=["broker"])]
