"""Tenant secrets at the portal: one current a place, rotations that lose none, and the interface for proxies."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import services
from broker.errors import BrokerRefused, NotASecret, RotationRefused, UnknownConfig
from broker.models import Config, Counter, Tenant, TenantSecret, Trail, Vendor
from broker.rotation import standing
from tests.broker.factories import BY, TenantFactory, VendorFactory, secret, settle
from tsp.contract.secrets import MAX_ID, TYPES, place_of

pytestmark = pytest.mark.django_db
API = "/api/proxy/secrets"
_NUMBERS = itertools.count()
MAIL = place_of("deterministic", "mail")


@pytest.fixture
def proxy(vendor: Vendor) -> Client:
    token = services.issue_service_token(vendor=vendor, label="eu", by=BY)
    return Client(headers={"Authorization": f"Bearer {token}"})


def leave(proxy: Client, under: Config, **changed: Any) -> Any:
    body = {
        "tsp": "eu-1",
        "tenant": under.tenant.name,
        "type": "deterministic",
        "path": "mail",
        "config": under.number,
        "wrapped": base64.b64encode(b"edek").decode(),
        **changed,
    }
    return proxy.post(API, body, content_type="application/json")


def find(proxy: Client, tenant: Tenant, place: str = MAIL, **headers: str) -> Any:
    return proxy.get(API, {"tenant": tenant.name, "place": place}, headers=headers)


def test_the_first_secret_of_a_place_stays(config: Config) -> None:
    first = secret(config)
    again = services.keep_secret(
        tenant=config.tenant, config=config.number, kind="deterministic", path="mail", wrapped=b"late", by=BY
    )
    assert again is False
    assert bytes(TenantSecret.objects.get().wrapped) == b"edek"
    assert Counter.objects.get(name="secret").value == first.number == 1
    assert Trail.objects.filter(action="secret.created").count() == 1


def test_types_paths_and_tenants_have_secrets_of_their_own(config: Config) -> None:
    """One secret shared between types would make equal what must not be comparable."""
    other = services.allocate_config(tenant=TenantFactory(vendor=config.tenant.vendor), kind="kms", by=BY)
    made = [
        secret(where, path, kind)
        for where in (config, other)
        for kind in TYPES
        for path in ("", "mail", "Mail", "mail ", "ärztlich ✓", "x" * 4096)
    ]
    assert sorted(row.number for row in made) == list(range(1, 37))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "other"}, {"path": "x" * 4097}, {"path": "a\0b"}, {"path": "\ud800"}, {"wrapped": b""},
        {"wrapped": bytes(4097)},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_secret_is_not_kept(config: Config, wrong: dict[str, Any]) -> None:
    asked = {"tenant": config.tenant, "config": config.number, "kind": "vector", "path": "p", "wrapped": b"w", "by": BY}
    with pytest.raises(NotASecret):
        services.keep_secret(**{**asked, **wrong})
    assert not TenantSecret.objects.exists()


def test_a_secret_under_another_tenants_key_is_not_kept(config: Config) -> None:
    siem = services.allocate_config(tenant=config.tenant, kind="siem", by=BY)
    for tenant, number in ((TenantFactory(vendor=config.tenant.vendor), config.number), (config.tenant, siem.number)):
        with pytest.raises(UnknownConfig):
            services.keep_secret(tenant=tenant, config=number, kind="vector", path="", wrapped=b"w", by=BY)


def test_numbers_end_at_four_bytes(config: Config) -> None:
    Counter.objects.create(name="secret", value=MAX_ID - 1)
    assert secret(config).number == MAX_ID
    with pytest.raises(BrokerRefused, match="no secret numbers left"):
        secret(config, "next")
    with pytest.raises(IntegrityError), transaction.atomic():
        TenantSecret.objects.create(
            number=MAX_ID + 1, tenant=config.tenant, config=config, kind="vector", place="0" * 64, wrapped=b"w"
        )


def test_a_rotation_from_begin_to_commit(config: Config) -> None:
    tenant, first = config.tenant, secret(config)
    services.begin_rotation(secret=first, by=BY)
    now = standing(tenant, MAIL)
    assert ([row.number for row in now.secrets], now.wanting) == ([1], True)
    second = secret(config)
    # the successor is decrypted with at once, and encrypts only when every proxy has had time to hear of it
    assert [row.number for row in standing(tenant, MAIL).secrets] == [first.number, second.number]
    settle(tenant)
    assert [row.number for row in standing(tenant, MAIL).secrets] == [second.number, first.number]
    services.commit_rotation(secret=first, by=BY)
    assert [row.number for row in standing(tenant, MAIL).secrets] == [second.number]
    assert TenantSecret.objects.get(pk=first.pk).state == "archived"
    actions = list(Trail.objects.filter(action__startswith="secret.rotation").values_list("action", flat=True))
    assert sorted(actions) == ["secret.rotation_begun", "secret.rotation_committed"]


def test_a_rotation_is_not_committed_before_its_successor_encrypts(config: Config) -> None:
    first = secret(config)
    services.begin_rotation(secret=first, by=BY)
    settle(config.tenant)
    with pytest.raises(RotationRefused):  # there is none: data would still be written under the one that goes
        services.commit_rotation(secret=first, by=BY)
    secret(config)
    with pytest.raises(RotationRefused):  # it is too young: so would it be
        services.commit_rotation(secret=first, by=BY)


def test_steps_from_the_wrong_state_change_nothing(config: Config) -> None:
    first = secret(config)
    with pytest.raises(RotationRefused):
        services.commit_rotation(secret=first, by=BY)
    services.begin_rotation(secret=first, by=BY)
    with pytest.raises(RotationRefused):
        services.begin_rotation(secret=first, by=BY)
    with pytest.raises(RotationRefused, match="commit that rotation first"):
        services.begin_rotation(secret=secret(config), by=BY)
    assert Trail.objects.filter(action__startswith="secret.rotation").count() == 1


STEPS = st.lists(
    st.sampled_from(["derive", "begin", "begin old", "commit", "commit new", "wait", "back up"]), max_size=14
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_sequence_of_steps_yields_two_current_or_loses_a_secret(config: Config, steps: list[str]) -> None:
    """The model: what exists is never lost, a derive always finds one to encrypt with, states only go forward."""
    tenant, path = config.tenant, f"path {next(_NUMBERS)}"
    place, order = place_of("vector", path), ["current", "in_rotation", "archived"]
    known: dict[int, tuple[bytes, str]] = {}
    for step in steps:
        rows = list(TenantSecret.objects.filter(place=place).order_by("number"))
        newest = step in ("begin", "commit new")
        target = (rows[-1] if newest else rows[0]) if rows else None
        try:
            if step == "derive":
                secret(config, path, "vector", str(len(rows)).encode())
            elif step == "wait":
                settle(tenant)
            elif step == "back up":
                services.restore_secrets(
                    vendor=tenant.vendor, backup=services.export_secrets(vendor=tenant.vendor, by=BY), by=BY
                )
            elif target is not None:
                (services.begin_rotation if step.startswith("begin") else services.commit_rotation)(
                    secret=target, by=BY
                )
        except RotationRefused:
            pass
        found = {row.number: (bytes(row.wrapped), row.state) for row in TenantSecret.objects.filter(place=place)}
        states = [state for _, state in found.values()]
        assert states.count("current") <= 1 >= states.count("in_rotation")
        for number, (wrapped, state) in known.items():
            assert found[number][0] == wrapped
            assert order.index(found[number][1]) >= order.index(state)
        if any(state == "archived" for state in states):
            assert {"current", "in_rotation"} & set(states), "nothing is left to encrypt with"
        shown = standing(tenant, place)
        assert {row.number for row in shown.secrets} == {n for n, (_, state) in found.items() if state != "archived"}
        assert shown.wanting is ("current" not in states)
        known = found


def test_proxies_find_what_another_one_left(proxy: Client, config: Config) -> None:
    assert find(proxy, config.tenant).json() == {"secrets": [], "wanting": True}
    made = leave(proxy, config)
    shown = {"secrets": [{"id": 1, "wrapped": "ZWRlaw==", "current": True}], "wanting": False}
    assert (made.status_code, made.json()) == (201, shown)
    assert find(proxy, config.tenant).json() == shown
    late = leave(proxy, config, wrapped=base64.b64encode(b"late").decode())
    assert (late.status_code, late.json()) == (200, shown)
    assert Trail.objects.get(action="secret.created").actor == "proxy:eu-1"


def test_the_tag_changes_with_each_step_of_a_rotation(proxy: Client, config: Config) -> None:
    first, tags = secret(config), []

    def look() -> str:
        answer = find(proxy, config.tenant)
        same = find(proxy, config.tenant, **{"If-None-Match": answer["ETag"]})
        assert (same.status_code, same.content) == (304, b"")
        return str(answer["ETag"])

    tags.append(look())
    services.begin_rotation(secret=first, by=BY)
    tags.append(look())
    secret(config)
    tags.append(look())
    settle(config.tenant)
    tags.append(look())
    services.commit_rotation(secret=first, by=BY)
    tags.append(look())
    assert len(set(tags)) == 5


def test_another_vendors_token_finds_no_tenant(config: Config) -> None:
    """T-12"""
    secret(config)
    token = services.issue_service_token(vendor=VendorFactory(), label="x", by=BY)
    stranger = Client(headers={"Authorization": f"Bearer {token}"})
    for answer in (find(stranger, config.tenant), leave(stranger, config, path="new")):
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_tenant")
    assert TenantSecret.objects.count() == 1


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"tsp": ""}, 400), ({"tsp": None}, 400), ({"tenant": "no name"}, 400), ({"tenant": None}, 400),
        ({"type": "other"}, 400), ({"type": ["vector"]}, 400), ({"path": None}, 400), ({"path": "a\0"}, 400),
        ({"config": "1"}, 400), ({"config": True}, 400), ({"config": 2**31}, 400), ({"config": 77}, 404),
        ({"wrapped": ""}, 400), ({"wrapped": "***"}, 400), ({"wrapped": 5}, 400), ({"wrapped": "A" * 9000}, 400),
    ],
    ids=str,
)  # fmt: skip
def test_a_proxy_that_says_nonsense_is_refused(
    proxy: Client, config: Config, changed: dict[str, Any], status: int
) -> None:
    assert leave(proxy, config, **changed).status_code == status
    assert not TenantSecret.objects.exists()


def test_odd_questions_are_refused(proxy: Client, config: Config) -> None:
    for place in ("", "x" * 64, MAIL.upper(), MAIL + "0"):
        assert find(proxy, config.tenant, place).status_code == 400
    assert proxy.get(API, {"place": MAIL}).status_code == 400
    assert proxy.post(API, [], content_type="application/json").status_code == 400


def test_the_page_lists_and_rotates_and_shows_no_bytes(admin: Client, viewer: Client, config: Config) -> None:
    made = secret(config, "<mail>", wrapped=b"very wrapped bytes")
    page = reverse("secrets", args=[config.tenant_id])
    shown = admin.get(page).content.decode()
    assert "&lt;mail&gt;" in shown
    assert "Begin rotation" in shown
    assert "Begin rotation" not in viewer.get(page).content.decode().split("Rotating a secret")[0]
    for bytes_ in (
        b"very wrapped bytes",
        base64.b64encode(b"very wrapped bytes"),
        b"very wrapped bytes".hex().encode(),
    ):
        assert bytes_ not in shown.encode()
    begin = reverse("secret-rotate", args=[config.tenant_id, made.number, "begin"])
    assert admin.post(begin).headers["Location"] == page
    assert "successor is there" in admin.get(page).content.decode()
    secret(config, "<mail>")
    assert "encrypts in some seconds" in admin.get(page).content.decode()
    refused = admin.post(reverse("secret-rotate", args=[config.tenant_id, made.number, "commit"]), follow=True)
    assert "half a minute" in refused.content.decode()
    settle(config.tenant)
    assert "Commit rotation" in admin.get(page).content.decode()
    admin.post(reverse("secret-rotate", args=[config.tenant_id, made.number, "commit"]))
    assert "used by no proxy" in admin.get(page).content.decode()
    assert Trail.objects.filter(action="secret.rotation_committed", user__isnull=False).exists()


def test_another_tenants_secret_cannot_be_rotated(admin: Client, config: Config) -> None:
    """T-12"""
    other = services.allocate_config(tenant=TenantFactory(vendor=config.tenant.vendor), kind="kms", by=BY)
    theirs = secret(other)
    assert admin.post(reverse("secret-rotate", args=[config.tenant_id, theirs.number, "begin"])).status_code == 404
    assert TenantSecret.objects.get(pk=theirs.pk).state == "current"
