"""The operators' administration writes through the services and shows a token once."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from broker import services
from broker.models import Member, ProxyKey, ServiceToken, Tenant, Trail, User, Vendor
from broker.services.proxies import digest
from tests.broker.factories import BY, PASSWORD, publish

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


@pytest.fixture
def root(vendor: Vendor) -> Client:
    services.add_operator(vendor=vendor, email="root@example.com", password=PASSWORD, superuser=True, by=BY)
    client = Client()
    client.force_login(User.objects.get(email="root@example.com"))
    return client


def add(client: Client, model: str, **fields: Any) -> Any:
    return client.post(reverse(f"admin:broker_{model}_add"), fields)


def row(action: str) -> Trail:
    found = Trail.objects.filter(action=action, actor="root@example.com").get()
    assert found.address == "127.0.0.1"
    return found


def test_every_list_and_form_opens(root: Client, config: Any) -> None:
    publish(config)
    for model in ("vendor", "tenant", "member", "proxykey", "servicetoken", "config", "proxyinstance", "trail"):
        assert root.get(reverse(f"admin:broker_{model}_changelist")).status_code == 200
    for model in ("vendor", "tenant", "member", "proxykey", "servicetoken"):
        assert root.get(reverse(f"admin:broker_{model}_add")).status_code == 200


def test_makes_and_restyles_a_vendor(root: Client) -> None:
    add(root, "vendor", name="new", title="New", colour="#123456", picture=SimpleUploadedFile("a.png", PNG))
    made = Vendor.objects.get(name="new")
    assert bytes(made.logo) == PNG
    assert row("vendor.created")
    root.post(
        reverse("admin:broker_vendor_change", args=[made.pk]), {"name": "other", "title": "N", "colour": "#000000"}
    )
    made.refresh_from_db()
    assert (made.name, made.title, bytes(made.logo)) == ("new", "N", PNG)
    assert row("vendor.restyled")


def test_refuses_a_picture_that_is_none(root: Client) -> None:
    page = add(
        root, "vendor", name="new", title="New", colour="#123456", picture=SimpleUploadedFile("a.svg", b"<svg/>")
    )
    assert "not a PNG" in page.content.decode()
    assert not Vendor.objects.filter(name="new").exists()


def test_makes_and_renames_a_tenant(root: Client, vendor: Vendor) -> None:
    add(root, "tenant", vendor=vendor.pk, name="clinic", title="Clinic")
    made = Tenant.objects.get(name="clinic")
    assert row("tenant.created")
    root.post(reverse("admin:broker_tenant_change", args=[made.pk]), {"name": "other", "title": "Renamed"})
    made.refresh_from_db()
    assert (made.name, made.title) == ("clinic", "Renamed")


def test_adds_a_member_and_an_operator(root: Client, tenant: Tenant) -> None:
    add(
        root,
        "member",
        vendor=tenant.vendor_id,
        tenant=tenant.pk,
        role="admin",
        email="A@example.com",
        password="p" * 12,
    )
    add(root, "member", vendor=tenant.vendor_id, role="operator", email="o@example.com")
    assert Member.objects.get(user__email="a@example.com").role == "admin"
    assert Member.objects.get(user__email="o@example.com").role == "operator"
    assert row("member.added")
    assert row("operator.added")


def test_refuses_a_member_who_fits_nowhere(root: Client, tenant: Tenant) -> None:
    for wrong in ({"tenant": tenant.pk, "role": "operator"}, {"role": "admin"}):
        page = add(root, "member", vendor=tenant.vendor_id, email="a@example.com", **wrong)
        assert "An operator has no tenant" in page.content.decode()
    services.add_member(tenant=tenant, email="a@example.com", by=BY)
    page = add(root, "member", vendor=tenant.vendor_id, tenant=tenant.pk, role="viewer", email="A@example.com")
    assert "a member there already" in page.content.decode()


def test_registers_and_retires_a_proxy_key(root: Client, vendor: Vendor) -> None:
    add(root, "proxykey", vendor=vendor.pk, label="eu", text=base64.b64encode(b"k" * 32).decode())
    made = ProxyKey.objects.get(label="eu")
    assert row("proxy_key.registered").subject == made.key
    for wrong in ("AAAA", "!", base64.b64encode(bytes(32)).decode(), base64.b64encode(b"k" * 32).decode()):
        assert add(root, "proxykey", vendor=vendor.pk, label="x", text=wrong).status_code == 200
    assert ProxyKey.objects.filter(vendor=vendor).count() == 2
    chosen = {"action": "retire", "_selected_action": [str(made.pk)]}
    root.post(reverse("admin:broker_proxykey_changelist"), chosen)
    made.refresh_from_db()
    assert made.state == "retired"
    assert row("proxy_key.retired")


def test_shows_a_token_once_and_revokes_it(root: Client, vendor: Vendor) -> None:
    page = add(root, "servicetoken", vendor=vendor.pk, label="eu")
    made = ServiceToken.objects.get()
    secret = page.content.decode().split(f"cmkp.{made.id.hex}.")[1].split("<")[0]
    assert digest(secret) == bytes(made.digest)
    assert "no-store" in page["Cache-Control"]
    listed = root.get(reverse("admin:broker_servicetoken_changelist")).content.decode()
    assert secret not in listed
    assert secret not in str(dict(root.session))
    chosen = {"action": "revoke", "_selected_action": [str(made.pk)]}
    root.post(reverse("admin:broker_servicetoken_changelist"), chosen)
    made.refresh_from_db()
    assert made.revoked is not None


@pytest.mark.parametrize("model", ["vendor", "tenant", "member", "proxykey", "servicetoken", "config", "trail"])
def test_deletes_nothing(root: Client, config: Any, model: str) -> None:
    """T-11"""
    publish(config)
    services.issue_service_token(vendor=config.tenant.vendor, label="x", by=BY)
    from django.apps import apps

    found = apps.get_model("broker", model)._default_manager.first()
    assert root.post(reverse(f"admin:broker_{model}_delete", args=[found.pk]), {"post": "yes"}).status_code == 403
    page = root.get(reverse(f"admin:broker_{model}_changelist")).content.decode()
    assert "delete_selected" not in page


def test_the_first_operator_is_made_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", "--noinput", "--email", "First@example.com", verbosity=0)
    client = Client()
    assert client.login(username="first@example.com", password=PASSWORD)
    assert "Go to the administration" in client.get("/").content.decode()
    assert client.get(reverse("admin:index")).status_code == 200
