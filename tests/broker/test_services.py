"""What each write does, what it refuses, and the row it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from broker import services
from broker.errors import (
    BrokerRefused,
    NameTaken,
    NoProxyKey,
    NotAKey,
    NotALogo,
    NotAName,
    NotARecord,
    StaleVersion,
    UnknownConfig,
    WrongBoxes,
)
from broker.models import Config, ConfigVersion, Counter, Member, ProxyKey, Tenant, Trail, User, Vendor
from broker.services import Actor
from tests.broker.factories import (
    BY,
    PASSWORD,
    MemberFactory,
    ProxyKeyFactory,
    TenantFactory,
    VendorFactory,
    boxes,
    publish,
    record,
)

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a-", "ä", "a/b", "..", "a" * 65, "a\n", "%41", "a\0"])
def test_refuses_what_is_no_name(vendor: Vendor, name: str) -> None:
    """T-12"""
    with pytest.raises(NotAName):
        services.create_vendor(name=name, title="x", by=BY)
    with pytest.raises(NotAName):
        services.create_tenant(vendor=vendor, name=name, title="x", by=BY)


def test_a_name_is_taken_once_and_is_never_folded(vendor: Vendor) -> None:
    services.create_tenant(vendor=vendor, name="Clinic", by=BY)
    with pytest.raises(NameTaken):
        services.create_tenant(vendor=vendor, name="Clinic", by=BY)
    services.create_tenant(vendor=vendor, name="clinic", by=BY)
    services.create_tenant(vendor=VendorFactory(), name="Clinic", by=BY)
    with pytest.raises(NameTaken):
        services.create_vendor(name=vendor.name, title="x", by=BY)


@pytest.mark.parametrize("colour", ["red", "#fff", "#FFFFFF", "#12345g", "#123456;}", ""])
def test_a_colour_cannot_smuggle_in_a_style(colour: str) -> None:
    with pytest.raises(BrokerRefused):
        services.create_vendor(name="v", title="V", colour=colour, by=BY)


@pytest.mark.parametrize("logo", [b"<svg onload=alert(1)>", b"GIF89a", PNG + bytes(65_536)])
def test_a_logo_is_a_small_picture(logo: bytes) -> None:
    with pytest.raises(NotALogo):
        services.create_vendor(name="v", title="V", logo=logo, by=BY)


def test_restyling_keeps_the_logo_unless_told(vendor: Vendor) -> None:
    services.restyle_vendor(vendor=vendor, title="New", colour="#123456", logo=PNG, by=BY)
    services.restyle_vendor(vendor=vendor, title="Newer", colour="#123456", by=BY)
    vendor.refresh_from_db()
    assert (vendor.title, bytes(vendor.logo)) == ("Newer", PNG)
    services.restyle_vendor(vendor=vendor, title="Newer", colour="#123456", logo=b"", by=BY)
    vendor.refresh_from_db()
    assert bytes(vendor.logo) == b""


def test_somebody_known_keeps_their_password(tenant: Tenant) -> None:
    """T-11: inviting a person must not be a way to take their account over"""
    first = MemberFactory(email="Dana@Example.com", tenant=tenant)
    other = services.add_member(
        tenant=TenantFactory(), email=" dana@example.COM", password="another", role="viewer", by=BY
    )
    assert other.user == first.user
    assert User.objects.get(email="dana@example.com").check_password(PASSWORD)


def test_a_person_is_a_member_once(tenant: Tenant) -> None:
    member = MemberFactory(tenant=tenant)
    with pytest.raises(NameTaken):
        services.add_member(tenant=tenant, email=member.user.email, role="viewer", by=BY)
    services.add_operator(vendor=tenant.vendor, email=member.user.email, by=BY)
    with pytest.raises(NameTaken):
        services.add_operator(vendor=tenant.vendor, email=member.user.email, by=BY)


def test_a_role_fits_the_place(tenant: Tenant) -> None:
    with pytest.raises(ValueError, match="admin or a viewer"):
        services.add_member(tenant=tenant, email="a@example.com", role="operator", by=BY)
    user = User.objects.create_user("b@example.com")
    for wrong in ({"tenant": tenant, "role": "operator"}, {"tenant": None, "role": "admin"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Member.objects.create(user=user, vendor=tenant.vendor, **wrong)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32)])
def test_refuses_what_is_no_key(vendor: Vendor, key: bytes) -> None:
    with pytest.raises(NotAKey):
        services.register_proxy_key(vendor=vendor, public_key=key, by=BY)


def test_a_retired_key_does_not_come_back(vendor: Vendor) -> None:
    key = ProxyKey.objects.get()
    assert services.retire_proxy_key(proxy_key=key, by=BY)
    assert not services.retire_proxy_key(proxy_key=key, by=BY)
    with pytest.raises(NameTaken):
        services.register_proxy_key(vendor=vendor, public_key=bytes(key.public_key), by=BY)


def test_numbers_are_global_and_given_again_until_published(tenant: Tenant, config: Config) -> None:
    again = services.allocate_config(tenant=tenant, kind="kms", label="Renamed", by=BY)
    assert (again.number, again.label) == (config.number, "Renamed")
    publish(config)
    second = services.allocate_config(tenant=tenant, kind="kms", by=BY)
    foreign = services.allocate_config(tenant=TenantFactory(), kind="kms", by=BY)
    assert [second.number, foreign.number] == [config.number + 1, config.number + 2]


def test_a_tenant_has_one_audit_log(tenant: Tenant) -> None:
    first = services.allocate_config(tenant=tenant, kind="siem", by=BY)
    publish(first)
    assert services.allocate_config(tenant=tenant, kind="siem", by=BY) == first
    with pytest.raises(IntegrityError), transaction.atomic():
        Config.objects.create(number=999, tenant=tenant, kind="siem", label="second")


def test_there_is_an_end_to_numbers(tenant: Tenant, config: Config) -> None:
    publish(config)
    Counter.objects.filter(name="config").update(value=2**31 - 1)
    with pytest.raises(BrokerRefused, match="no configuration numbers left"):
        services.allocate_config(tenant=tenant, kind="kms", by=BY)
    assert Counter.objects.get(name="config").value == 2**31 - 1


def test_versions_are_chained(config: Config) -> None:
    """T-5"""
    first, second = publish(config), publish(config)
    assert (first.version, first.previous) == (1, "")
    assert (second.version, second.previous) == (2, first.hash)
    assert second.sequence > first.sequence
    assert services.draft(config) == services.configs.Draft(config.number, 3, second.hash)


def a_record(config: Config, /, **changes: Any) -> Any:
    found = record(config, services.draft(config).version, boxes(config.tenant.vendor))
    return type(found)(**{**{name: getattr(found, name) for name in found.__slots__}, **changes})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (lambda config: {"version": 3}, StaleVersion),
        (lambda config: {"version": 1}, StaleVersion),
        (lambda config: {"tenant": "somebody-else"}, NotARecord),
        (lambda config: {"config": config.number + 7}, UnknownConfig),
        (lambda config: {"kind": "siem"}, UnknownConfig),
        (lambda config: {"boxes": {"ab" * 16: bytes(60)}}, WrongBoxes),
        (lambda config: {"boxes": {**boxes(config.tenant.vendor), "ab" * 16: bytes(60)}}, WrongBoxes),
    ],
)
def test_refuses_a_record_that_does_not_fit(
    config: Config, changes: Callable[[Config], dict[str, Any]], error: type[BrokerRefused]
) -> None:
    """T-4, T-5"""
    publish(config)
    with pytest.raises(error):
        services.publish_record(tenant=config.tenant, record=a_record(config, **changes(config)), by=BY)
    assert ConfigVersion.objects.count() == 1
    assert Trail.objects.filter(action="config.published").count() == 1
    assert Counter.objects.get(name="sequence").value == 1


def test_refuses_a_record_without_a_box_for_each_key(config: Config) -> None:
    before = boxes(config.tenant.vendor)
    ProxyKeyFactory(vendor=config.tenant.vendor)
    with pytest.raises(WrongBoxes, match="every active proxy key"):
        services.publish_record(tenant=config.tenant, record=record(config, 1, before), by=BY)


def test_refuses_a_record_while_there_is_no_key(config: Config) -> None:
    found = a_record(config)
    services.retire_proxy_key(proxy_key=ProxyKey.objects.get(), by=BY)
    with pytest.raises(NoProxyKey):
        services.publish_record(tenant=config.tenant, record=found, by=BY)


def test_refuses_a_record_for_another_tenants_number(config: Config) -> None:
    """T-12: the tenant's name in the record fits, the number is a neighbour's"""
    neighbour = TenantFactory(vendor=config.tenant.vendor)
    with pytest.raises(UnknownConfig):
        services.publish_record(tenant=neighbour, record=a_record(config, tenant=neighbour.name), by=BY)


def test_switching_is_done_once(config: Config) -> None:
    """T-21: one UPDATE … WHERE; a second click changes nothing and leaves no row"""
    assert services.set_config_enabled(config=config, enabled=False, by=BY)
    assert not services.set_config_enabled(config=config, enabled=False, by=BY)
    assert services.set_config_enabled(config=config, enabled=True, by=BY)
    actions = Trail.objects.filter(subject=str(config)).order_by("at").values_list("action", flat=True)
    assert list(actions) == ["config.allocated", "config.disabled", "config.enabled"]


def test_every_write_leaves_one_row_that_tells_who_and_from_where(
    vendor: Vendor, tenant: Tenant, config: Config
) -> None:
    user = MemberFactory(tenant=tenant).user
    by = Actor(user.email, user, "192.0.2.7")
    key = ProxyKey.objects.get()
    writes: list[tuple[str, Callable[[], Any]]] = [
        ("vendor.created", lambda: services.create_vendor(name="n", title="N", by=by)),
        ("vendor.restyled", lambda: services.restyle_vendor(vendor=vendor, title="N", colour="#000000", by=by)),
        ("tenant.created", lambda: services.create_tenant(vendor=vendor, name="n", by=by)),
        ("tenant.restyled", lambda: services.restyle_tenant(tenant=tenant, title="N", by=by)),
        ("tenant.leasing_required", lambda: services.require_leasing(tenant=tenant, required=True, by=by)),
        ("tenant.leasing_optional", lambda: services.require_leasing(tenant=tenant, required=False, by=by)),
        ("member.added", lambda: services.add_member(tenant=tenant, email="n@example.com", by=by)),
        ("operator.added", lambda: services.add_operator(vendor=vendor, email="o@example.com", by=by)),
        ("config.published", lambda: publish(config, by)),
        ("config.allocated", lambda: services.allocate_config(tenant=tenant, kind="siem", by=by)),
        ("config.disabled", lambda: services.set_config_enabled(config=config, enabled=False, by=by)),
        ("token.issued", lambda: services.issue_service_token(vendor=vendor, label="n", by=by)),
        ("proxy_key.registered", lambda: services.register_proxy_key(vendor=vendor, public_key=b"k" * 32, by=by)),
        ("proxy_key.retired", lambda: services.retire_proxy_key(proxy_key=key, by=by)),
    ]
    for action, write in writes:
        before = set(Trail.objects.values_list("pk", flat=True))
        write()
        [row] = Trail.objects.exclude(pk__in=before)
        assert (row.action, row.actor, row.user, row.address) == (action, user.email, user, "192.0.2.7")
