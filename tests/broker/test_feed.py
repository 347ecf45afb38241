"""The feed: a proxy gets its own vendor's sealed records, each exactly once, and says what became of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from broker import services
from broker.models import ConfigStatus, ProxyInstance, ServiceToken, Trail, Vendor
from tests.broker.factories import BY, ProxyKeyFactory, TenantFactory, VendorFactory, publish
from tsp.contract import sealed

pytestmark = pytest.mark.django_db
FEED, STATUS = "/api/proxy/configs", "/api/proxy/status"


@pytest.fixture
def vendor() -> Vendor:
    return ProxyKeyFactory().vendor


@pytest.fixture
def proxy(vendor: Vendor) -> Client:
    token = services.issue_service_token(vendor=vendor, label="eu", by=BY)
    return Client(headers={"Authorization": f"Bearer {token}"})


def a_config(vendor: Vendor, kind: Any = "kms") -> Any:
    return services.allocate_config(tenant=TenantFactory(vendor=vendor), kind=kind, by=BY)


def test_gives_the_latest_record_of_each_configuration_first(vendor: Vendor, proxy: Client) -> None:
    one, two = a_config(vendor), a_config(vendor, "siem")
    publish(one)
    publish(two)
    last = publish(one)
    body = proxy.get(FEED).json()
    assert body["vendor"] == vendor.name
    assert [(found["config"], found["version"]) for found in body["records"]] == [(two.number, 1), (one.number, 2)]
    assert body["disabled"] == []
    assert body["more"] is False
    record = sealed.load(body["records"][1])
    assert record.sequence == last.sequence
    assert record.hash == last.hash


def test_gives_every_record_after_a_sequence_so_that_the_chain_can_be_followed(vendor: Vendor, proxy: Client) -> None:
    config = a_config(vendor)
    first, second, third = publish(config), publish(config), publish(config)
    records = [sealed.load(found) for found in proxy.get(FEED, {"after": first.sequence}).json()["records"]]
    assert [record.version for record in records] == [2, 3]
    assert records[0].hash == third.previous
    assert second.previous == first.hash


def test_answers_304_until_something_changes(vendor: Vendor, proxy: Client) -> None:
    config = a_config(vendor)
    publish(config)
    tag = proxy.get(FEED)["ETag"]
    same = proxy.get(FEED, headers={"If-None-Match": tag})
    assert same.status_code == 304
    assert same.content == b""
    assert same["ETag"] == tag
    services.set_config_enabled(config=config, enabled=False, by=BY)
    changed = proxy.get(FEED, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["disabled"] == [config.number]
    publish(config)
    assert proxy.get(FEED, headers={"If-None-Match": changed["ETag"]}).status_code == 200


def test_tells_whose_keys_the_vendor_wants_leased(vendor: Vendor, proxy: Client) -> None:
    """Of its own vendor only, and a change is a new ETag."""
    tenant = TenantFactory(vendor=vendor)
    TenantFactory(leasing_required=True)
    first = proxy.get(FEED)
    assert first.json()["leasing_required"] == []
    services.require_leasing(tenant=tenant, required=True, by=BY)
    changed = proxy.get(FEED, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["leasing_required"] == [tenant.name]


def test_pages_through_more_than_fits(vendor: Vendor, proxy: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.api.proxy.PAGE", 2)
    published = [publish(a_config(vendor)).sequence for _ in range(5)]
    seen: list[int] = []
    after, more = 0, True
    while more:
        body = proxy.get(FEED, {"after": after}).json()
        seen += [record["sequence"] for record in body["records"]]
        after, more = seen[-1], body["more"]
    assert seen == published


def test_keeps_vendors_apart(vendor: Vendor, proxy: Client) -> None:
    """T-12"""
    other = ProxyKeyFactory().vendor
    publish(a_config(other))
    mine = publish(a_config(vendor))
    assert [record["sequence"] for record in proxy.get(FEED).json()["records"]] == [mine.sequence]


@pytest.mark.parametrize("after", ["-1", "x", "1.0", "9" * 30, "²", ""])
def test_refuses_an_after_that_is_no_number(proxy: Client, after: str) -> None:
    response = proxy.get(FEED, {"after": after})
    assert response.status_code == 400
    assert "'after'" in response.json()["message"]


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer x", "Basic eDp5", "Bearer cmkp.{id}.wrong", "Bearer {whole} x", "Token {whole}"],
)
def test_refuses_whoever_has_no_token(vendor: Vendor, header: str | None) -> None:
    """T-21"""
    whole = services.issue_service_token(vendor=vendor, label="eu", by=BY)
    text = header and header.format(id=ServiceToken.objects.get().id.hex, whole=whole)
    client = Client(headers={"Authorization": text} if text is not None else {})
    for response in (client.get(FEED), client.post(STATUS, {}, content_type="application/json")):
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"] == "unauthorized"


def test_refuses_a_revoked_token_at_once(proxy: Client) -> None:
    token = ServiceToken.objects.get()
    assert proxy.get(FEED).status_code == 200
    assert services.revoke_service_token(token=token, by=BY)
    assert proxy.get(FEED).status_code == 401
    assert not services.revoke_service_token(token=token, by=BY)


def test_keeps_no_token_that_could_be_stolen(vendor: Vendor) -> None:
    whole = services.issue_service_token(vendor=vendor, label="eu", by=BY)
    row = ServiceToken.objects.get()
    secret = whole.rpartition(".")[2].encode()
    assert secret not in bytes(row.digest)
    assert len(row.digest) == 32
    assert not Trail.objects.filter(facts__icontains=secret.decode()).exists()


def a_report(**changes: Any) -> dict[str, Any]:
    return {"tsp": "eu-1", "version": "0.1.0", "keys": ["ab" * 16], "results": [], **changes}


def test_keeps_what_a_proxy_reports(vendor: Vendor, proxy: Client) -> None:
    config = a_config(vendor)
    publish(config)
    result = {
        "tenant": config.tenant.name,
        "config": config.number,
        "version": 1,
        "state": "refused",
        "reason": "kms_refused",
    }
    assert proxy.post(STATUS, a_report(results=[result]), content_type="application/json").status_code == 204
    status = ConfigStatus.objects.get()
    assert (status.state, status.reason, status.version, status.proxy.name) == ("refused", "kms_refused", 1, "eu-1")
    again = {**result, "state": "active", "reason": ""}
    assert proxy.post(STATUS, a_report(results=[again]), content_type="application/json").status_code == 204
    assert ConfigStatus.objects.get().state == "active"


def test_leaves_a_trail_only_when_something_changes(vendor: Vendor, proxy: Client) -> None:
    config = a_config(vendor)
    result = {"tenant": config.tenant.name, "config": config.number, "version": 1, "state": "active", "reason": ""}
    for _ in range(3):
        proxy.post(STATUS, a_report(results=[result]), content_type="application/json")
    row = Trail.objects.get(action="config.active")
    assert row.actor == "proxy:eu-1"
    assert row.tenant == config.tenant
    assert row.address == "127.0.0.1"


def test_leaves_out_results_that_are_not_the_vendors(vendor: Vendor, proxy: Client) -> None:
    """T-12: neither by number nor by a tenant's name"""
    foreign = services.allocate_config(tenant=TenantFactory(vendor=VendorFactory()), kind="kms", by=BY)
    mine = a_config(vendor)
    results = [
        {"tenant": foreign.tenant.name, "config": foreign.number, "version": 1, "state": "refused", "reason": ""},
        {"tenant": "somebody-else", "config": mine.number, "version": 1, "state": "refused", "reason": ""},
    ]
    assert proxy.post(STATUS, a_report(results=results), content_type="application/json").status_code == 204
    assert not ConfigStatus.objects.exists()
    assert ProxyInstance.objects.get().vendor == vendor


GOOD = {"tenant": "t", "config": 1, "version": 1, "state": "active", "reason": ""}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tsp": ""}, "'tsp'"),
        ({"tsp": "a\nb"}, "'tsp'"),
        ({"version": 1}, "'version'"),
        ({"keys": "abc"}, "'keys'"),
        ({"keys": [1]}, "'keys'"),
        ({"results": {}}, "'results'"),
        ({"results": [3]}, "result"),
        ({"results": [{**GOOD, "config": True}]}, "'config'"),
        ({"results": [{**GOOD, "state": "fine"}]}, "'state'"),
        ({"results": [{**GOOD, "reason": "x" * 201}]}, "'reason'"),
        ({"results": [{**GOOD, "tenant": "../x"}]}, "'tenant'"),
    ],
)
def test_names_the_member_that_is_wrong(proxy: Client, changes: dict[str, Any], named: str) -> None:
    response = proxy.post(STATUS, a_report(**changes), content_type="application/json")
    assert response.status_code == 400
    assert named in response.json()["message"]
    assert not ProxyInstance.objects.exists()


@pytest.mark.parametrize(
    ("body", "kind"),
    [("{", "application/json"), ("a=b", "application/x-www-form-urlencoded"), ("[]", "application/json")],
)
def test_takes_json_only(proxy: Client, body: str, kind: str) -> None:
    assert proxy.post(STATUS, body, content_type=kind).status_code in (400, 415)
