"""Sealing without a browser: the same boxes, checked before anything is stored."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from nacl.public import PrivateKey, SealedBox

from broker import services
from broker.models import ConfigVersion, Tenant
from tests.broker.factories import BY, ProxyKeyFactory, TenantFactory
from tsp.contract import sealed
from tsp.contract import tenant as contract

pytestmark = pytest.mark.django_db
KEY = PrivateKey.generate()
AWS = {"key_arn": "arn:aws:kms:eu-central-1:111122223333:key/k", "region": "eu-central-1", "access_key_id": "AKIA"}


@pytest.fixture
def tenant() -> Tenant:
    vendor = ProxyKeyFactory(public_key=bytes(KEY.public_key)).vendor
    return TenantFactory(vendor=vendor)


def seal(tenant: Tenant, folder: Path, values: Any, *more: str, provider: str = "aws", kind: str = "kms") -> str:
    file = folder / "options.json"
    file.write_text(values if isinstance(values, str) else json.dumps(values))
    out = StringIO()
    where = ("--vendor", tenant.vendor.name, "--tenant", tenant.name, "--kind", kind, "--provider", provider)
    call_command("broker_seal", *where, "--options-file", str(file), *more, stdout=out)
    return out.getvalue()


def opened() -> contract.Document:
    row = ConfigVersion.objects.order_by("-sequence")[0]
    record = sealed.load({"tenant": "t", "config": 1, "kind": "kms", "version": 1, "boxes": row.boxes})
    [(key, box)] = record.boxes.items()
    document = contract.load(SealedBox(KEY).decrypt(box))
    assert document.binding.tsp_key == key
    return document


def test_seals_what_the_proxy_reads(tenant: Tenant, tmp_path: Path, plant: Any) -> None:
    values = {**AWS, "secret_access_key": plant("secret access key")}
    said = seal(tenant, tmp_path, values, "--leased", "--renew", "60", "--hold", "0", "--label", "Offline")
    document = opened()
    assert isinstance(document.body, contract.KmsBody)
    assert (document.body.provider, document.body.options) == ("aws", values)
    assert document.body.leasing == contract.Leasing(True, 60, 0)
    assert document.binding.tenant == tenant.name
    row = ConfigVersion.objects.get()
    assert said == f"stored configuration {row.config_id} version 1 hash {row.hash}\n"
    assert row.config.label == "Offline"


def test_goes_on_from_the_version_before(tenant: Tenant, tmp_path: Path) -> None:
    values = {**AWS, "secret_access_key": "s" * 40}
    seal(tenant, tmp_path, values)
    first = ConfigVersion.objects.get()
    seal(tenant, tmp_path, values, "--config", str(first.config_id), "--secondary")
    document = opened()
    assert (document.binding.version, document.binding.previous) == (2, first.hash)
    assert isinstance(document.body, contract.KmsBody)
    assert document.body.primary is False


@pytest.mark.parametrize(
    ("values", "more", "says"),
    [
        ({**AWS}, (), "'secret_access_key' is missing"),
        ({**AWS, "secret_access_key": 3}, (), "'secret_access_key' must be a text"),
        ({**AWS, "secret_access_key": "s", "x": 1}, (), "unknown option"),
        ({**AWS, "secret_access_key": "s"}, ("--hold", "9999"), "'hold' 0 to 3600"),
        ({**AWS, "secret_access_key": "s"}, ("--config", "77"), "check --config"),
        ("[]", (), "JSON object"),
        ("{", (), "not JSON"),
    ],
)
def test_says_what_is_wrong_and_stores_nothing(
    tenant: Tenant, tmp_path: Path, values: Any, more: tuple[str, ...], says: str
) -> None:
    with pytest.raises(CommandError, match=says):
        seal(tenant, tmp_path, values, *more)
    assert not ConfigVersion.objects.exists()


def test_names_the_providers_that_there_are(tenant: Tenant, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="choose one of aws"):
        seal(tenant, tmp_path, {}, provider="nobody")


def test_needs_a_tenant_that_exists(tenant: Tenant, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such tenant"):
        seal(Tenant(vendor=tenant.vendor, name="nobody"), tmp_path, {})


def test_needs_a_proxy_key(tenant: Tenant, tmp_path: Path) -> None:
    services.retire_proxy_key(proxy_key=tenant.vendor.proxy_keys.get(), by=BY)
    with pytest.raises(CommandError, match="no proxy key yet"):
        seal(tenant, tmp_path, {**AWS, "secret_access_key": "s" * 40})
