"""What the sealing page asks the portal for, and what it is told when it is wrong."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from broker import services
from broker.models import Config, ConfigVersion, ProxyKey, Tenant, Trail
from broker.services.proxies import Result
from tests.broker.factories import BY, as_json, boxes, publish, record

pytestmark = pytest.mark.django_db


def at(name: str, tenant: Tenant, **more: Any) -> str:
    return reverse(name, kwargs={"tenant": tenant.pk, **more})


def post(client: Client, address: str, body: Any) -> Any:
    return client.post(address, body, content_type="application/json")


def test_gives_the_page_what_it_needs_to_seal(admin: Client, tenant: Tenant) -> None:
    found = admin.get(at("api-form", tenant, kind="kms")).json()
    key = ProxyKey.objects.get()
    assert (found["vendor"], found["tenant"], found["kind"]) == (tenant.vendor.name, tenant.name, "kms")
    assert found["keys"] == [
        {"id": key.key, "label": key.label, "public_key": base64.b64encode(bytes(key.public_key)).decode()}
    ]
    aws = next(provider for provider in found["providers"] if provider["kind"] == "aws")
    assert any(option["secret"] for option in aws["options"])
    assert found["leasing"] == {"renew": 300, "hold": 3600}


@pytest.mark.parametrize("allowed", [True, False])
def test_offers_the_development_key_service_only_where_the_proxy_takes_it(
    admin: Client, tenant: Tenant, settings: Any, allowed: bool
) -> None:
    settings.TSP_ALLOW_LOCAL_KMS = allowed
    kinds = [provider["kind"] for provider in admin.get(at("api-form", tenant, kind="kms")).json()["providers"]]
    assert ("local" in kinds) is allowed


def test_drafts_a_new_configuration_and_the_next_version_of_an_old_one(admin: Client, tenant: Tenant) -> None:
    new = post(admin, at("api-draft", tenant, kind="kms"), {"config": None, "label": "Vault"}).json()
    config = Config.objects.get()
    assert new == {"config": config.number, "version": 1, "previous": ""}
    assert config.label == "Vault"
    first = publish(config)
    following = post(admin, at("api-draft", tenant, kind="kms"), {"config": config.number}).json()
    assert following == {"config": config.number, "version": 2, "previous": first.hash}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 400),
        ({"config": "1"}, 400),
        ({"config": True}, 400),
        ({"config": 0}, 400),
        ({"config": 2**31}, 400),
        ({"config": None, "label": 3}, 400),
        ({"config": None, "label": "x" * 101}, 400),
        ({"config": None, "label": "a\nb"}, 400),
        ({"config": 4711}, 404),
    ],
)
def test_refuses_a_draft_that_makes_no_sense(admin: Client, tenant: Tenant, body: Any, status: int) -> None:
    assert post(admin, at("api-draft", tenant, kind="kms"), body).status_code == status
    assert not Config.objects.exists()


def test_refuses_to_draft_a_key_as_a_log(admin: Client, tenant: Tenant, config: Config) -> None:
    assert post(admin, at("api-draft", tenant, kind="siem"), {"config": config.number}).status_code == 404


def test_keeps_a_sealed_record(admin: Client, tenant: Tenant, config: Config) -> None:
    found = record(config, 1, boxes(tenant.vendor))
    response = post(admin, at("api-records", tenant), as_json(found))
    assert response.status_code == 201
    assert response.json() == {"config": config.number, "version": 1, "hash": found.hash}
    row = ConfigVersion.objects.get()
    assert row.author == tenant.members.get(user=row.author).user
    assert Trail.objects.get(action="config.published").address == "127.0.0.1"


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"boxes": {}}, 400, "not_a_record"),
        ({"boxes": {"zz": "AAAA"}}, 400, "not_a_record"),
        ({"boxes": {"ab" * 16: "!!"}}, 400, "not_a_record"),
        ({"boxes": {"ab" * 16: base64.b64encode(bytes(60)).decode()}}, 400, "wrong_boxes"),
        ({"tenant": "somebody-else"}, 400, "not_a_record"),
        ({"tenant": 3}, 400, "not_a_record"),
        ({"kind": "other"}, 400, "not_a_record"),
        ({"kind": "siem"}, 404, "unknown_config"),
        ({"config": 4711}, 404, "unknown_config"),
        ({"version": 2}, 409, "stale_version"),
        ({"version": "1"}, 400, "not_a_record"),
    ],
)
def test_says_what_is_wrong_with_a_record(
    admin: Client, tenant: Tenant, config: Config, changes: dict[str, Any], status: int, word: str
) -> None:
    body = {**as_json(record(config, 1, boxes(tenant.vendor))), **changes}
    response = post(admin, at("api-records", tenant), body)
    assert (response.status_code, response.json()["error"]) == (status, word)
    assert response.json()["message"]
    assert not ConfigVersion.objects.exists()


def test_takes_a_record_once(admin: Client, tenant: Tenant, config: Config) -> None:
    body = as_json(record(config, 1, boxes(tenant.vendor)))
    assert post(admin, at("api-records", tenant), body).status_code == 201
    assert post(admin, at("api-records", tenant), body).json()["error"] == "stale_version"


def test_answers_in_json_only(admin: Client, tenant: Tenant, config: Config) -> None:
    """No browsable interface, no form encoding."""
    response = admin.get(at("api-form", tenant, kind="kms"), headers={"Accept": "text/html"})
    assert response.status_code == 406
    form = admin.post(at("api-draft", tenant, kind="kms"), {"label": "x"})
    assert form.status_code == 415
    assert form.json()["error"] == "not_json"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"boxes": "' + b"x" * 8_400_000 + b'"}', 413),
        (b"[" * 200_000, 400),
        (b'{"config": null, "config": 1}', 400),
        (b'{"config": NaN}', 400),
        (b"\xff\xfe", 400),
        (b"", 400),
    ],
)
def test_reads_no_body_that_is_not_plain_json(admin: Client, tenant: Tenant, body: bytes, status: int) -> None:
    response = admin.post(at("api-draft", tenant, kind="kms"), body, content_type="application/json")
    assert response.status_code == status
    assert not Config.objects.exists()


def test_tells_what_the_proxies_say(viewer: Client, tenant: Tenant, config: Config) -> None:
    address = at("api-status", tenant, number=config.number)
    assert viewer.get(address).json()["state"] == "empty"
    publish(config)
    assert viewer.get(address).json()["state"] == "waiting"
    say(tenant, "eu-1", config, "refused", "kms_refused")
    found = viewer.get(address).json()
    assert (found["state"], found["reason"], found["version"]) == ("refused", "kms_refused", 1)
    assert found["advice"]
    say(tenant, "eu-1", config, "active")
    assert viewer.get(address).json()["state"] == "active"


def say(tenant: Tenant, proxy: str, config: Config, state: str, reason: str = "") -> None:
    result = Result(tenant.name, config.number, 1, state, reason)
    services.record_status(vendor=tenant.vendor, proxy=proxy, version="1", keys=[], results=[result], by=BY)
