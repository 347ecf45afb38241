"""Every address of the portal, tried by everybody (T-12, T-21)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from broker.models import Config, Tenant, Trail, Vendor
from broker.permissions import TABLE
from tests.broker.factories import publish, secret

pytestmark = pytest.mark.django_db

OPEN = {"login", "logout", "colours", "logo", "home"}  # for whoever comes, or about nobody in particular
PROXY = {"proxy-configs", "proxy-secrets", "proxy-status"}
# for each address about a tenant: the method that it takes, and what the table asks for
TENANT = {
    "dashboard": ("get", "tenant.see"),
    "sealing": ("get", "config.see"),
    "switch": ("post", "config.switch"),
    "history": ("get", "config.see"),
    "members": ("get", "members.see"),
    "activity": ("get", "trail.see"),
    "secrets": ("get", "secrets.see"),
    "secret-rotate": ("post", "secrets.rotate"),
    "api-form": ("get", "config.seal"),
    "api-draft": ("post", "config.seal"),
    "api-records": ("post", "config.seal"),
    "api-status": ("get", "tenant.see"),
}
VENDOR = {"vendor": "vendor.see", "api-backup": "secrets.back_up"}
_TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="\w+"')
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")


def addresses(resolver: URLResolver | None = None) -> Iterator[URLPattern]:
    for each in (resolver or get_resolver()).url_patterns:
        if isinstance(each, URLPattern):
            yield each
        elif each.app_name != "admin":
            yield from addresses(each)


def address(name: str, tenant: Tenant, config: Config) -> str:
    pattern = next(each for each in addresses() if each.name == name)
    known: dict[str, Any] = {"tenant": tenant.pk, "vendor": tenant.vendor_id, "kind": "kms", "number": config.number}
    if "secret" in pattern.pattern.converters:
        known |= {"secret": (tenant.secrets.first() or secret(config)).number, "step": "begin"}
    return reverse(name, kwargs={part: known[part] for part in pattern.pattern.converters})


def test_every_address_is_in_one_of_the_tables() -> None:
    """A new address must say who may use it, or this test fails."""
    names = [pattern.name for pattern in addresses()]
    assert sorted(names, key=str) == sorted(OPEN | PROXY | set(TENANT) | set(VENDOR))
    assert {action for _, action in TENANT.values()} | set(VENDOR.values()) == set(TABLE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", sorted(set(TENANT) | set(VENDOR)))
def test_hides_everything_from_the_others(
    name: str, method: str, tenant: Tenant, config: Config, stranger: Client, neighbour: Client
) -> None:
    """T-12: another tenant's admin, of this vendor or another, learns not even that the tenant exists."""
    publish(config)
    there = address(name, tenant, config)
    before = Trail.objects.count()
    nowhere = there.replace(str(tenant.pk), str(uuid.uuid4())).replace(str(tenant.vendor_id), str(uuid.uuid4()))
    for client in (stranger, neighbour):
        call = getattr(client, method)
        response = call(there)
        # a method that the address never takes is refused before anything is looked up
        assert response.status_code in (404, 405) or (method == "options" and response.status_code == 200)
        missing = call(nowhere)
        assert missing.status_code == response.status_code
        if method != "options":
            assert _TOKEN.sub(b"", missing.content) == _TOKEN.sub(b"", response.content)
    assert Trail.objects.count() == before


@pytest.mark.parametrize("name", sorted(TENANT))
def test_hides_everything_from_the_others_with_the_right_method(
    name: str, tenant: Tenant, config: Config, stranger: Client, neighbour: Client
) -> None:
    method, _ = TENANT[name]
    for client in (stranger, neighbour):
        assert getattr(client, method)(address(name, tenant, config)).status_code == 404


@pytest.mark.parametrize("name", sorted(set(TENANT) | set(VENDOR)))
def test_asks_for_a_login(name: str, tenant: Tenant, config: Config) -> None:
    """T-21: deny by default; pages lead to the login, the interface for programs refuses."""
    method = TENANT.get(name, ("get", ""))[0]
    response = getattr(Client(), method)(address(name, tenant, config))
    if name.startswith("api-"):
        assert response.status_code == 403
    else:
        assert response.status_code == 302
        assert response["Location"].startswith(reverse("login"))


@pytest.mark.parametrize("role", ["admin", "viewer", "operator"])
@pytest.mark.parametrize("name", sorted(TENANT))
def test_lets_in_exactly_whom_the_table_names(
    name: str, role: str, tenant: Tenant, config: Config, request: pytest.FixtureRequest
) -> None:
    publish(config)
    client: Client = request.getfixturevalue(role)
    method, action = TENANT[name]
    response = getattr(client, method)(address(name, tenant, config))
    if role in TABLE[action]:
        assert response.status_code in (200, 302, 400, 415)  # the body is empty, and no JSON
        assert not response.headers.get("Location", "").startswith(reverse("login"))
    else:
        assert response.status_code == 403


@pytest.mark.parametrize("name", sorted(VENDOR))
def test_lets_only_its_operator_see_a_vendor(
    name: str, vendor: Vendor, tenant: Tenant, config: Config, operator: Client, admin: Client
) -> None:
    assert operator.get(address(name, tenant, config)).status_code == 200
    assert admin.get(address(name, tenant, config)).status_code == 404


@pytest.mark.parametrize("role", ["admin", "operator"])
def test_pages_are_no_way_into_the_proxys_interface(role: str, request: pytest.FixtureRequest) -> None:
    client: Client = request.getfixturevalue(role)
    assert client.get(reverse("proxy-configs")).status_code == 401
    for name in ("proxy-status", "proxy-secrets"):
        assert client.post(reverse(name), {}, content_type="application/json").status_code == 401


@pytest.mark.parametrize("role", ["admin", "viewer", "operator", "stranger"])
def test_the_administration_is_closed_to_members(role: str, request: pytest.FixtureRequest) -> None:
    client: Client = request.getfixturevalue(role)
    response = client.get(reverse("admin:index"))
    assert response.status_code == 302
    assert "/admin/login/" in response["Location"]


def test_somebody_who_was_deactivated_is_out_at_once(admin: Client, tenant: Tenant, config: Config) -> None:
    tenant.members.get().user.__class__.objects.update(is_active=False)
    assert admin.get(address("dashboard", tenant, config)).status_code == 302


@pytest.mark.parametrize(
    "path",
    [
        "/tenants/%2e%2e/",
        "/tenants/root/",
        "/tenants/../admin/",
        "/tenants/{id}%00/",
        "/tenants/{id}/KMS/",
        "/tenants/{id}/configs/0/switch",
        "/tenants/{id}/configs/01/switch",
        "/tenants/{id}/configs/9999999999/switch",
        "/tenants/{id}/secrets/4294967296/begin",
        "/tenants/{id}/secrets/0/commit",
        "/tenants/{id}/secrets/1/archive",
    ],
)
def test_odd_addresses_lead_nowhere(admin: Client, tenant: Tenant, path: str) -> None:
    assert admin.post(path.format(id=tenant.pk)).status_code in (404, 405)
    assert admin.get(path.format(id=tenant.pk)).status_code in (404, 302)


def test_forged_posts_are_refused(tenant: Tenant, config: Config) -> None:
    """A form or script of another site has no token."""
    client = Client(enforce_csrf_checks=True)
    member = tenant.members.create(
        user=tenant.members.model._meta.get_field("user").related_model.objects.create_user("x@example.com"),
        vendor=tenant.vendor,
        role="admin",
    )
    client.force_login(member.user)
    for name in ("switch", "api-draft", "api-records", "secret-rotate"):
        assert client.post(address(name, tenant, config), {}, content_type="application/json").status_code == 403
    assert client.post(reverse("logout")).status_code == 403
