"""The portal's things, made as the portal makes them: each factory goes through a service."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import factory
from django.db.models import QuerySet
from django.utils import timezone
from nacl.public import PrivateKey

from broker import services
from broker.models import Config, ConfigVersion, Member, ProxyKey, Tenant, TenantSecret, User, Vendor
from broker.services import Actor
from tsp.contract import sealed
from tsp.contract import tenant as contract
from tsp.contract.secrets import SETTLE_SECONDS

BY = Actor("tests")
PASSWORD = "correct-horse-battery-staple"


class VendorFactory(factory.django.DjangoModelFactory[Vendor]):
    class Meta:
        model = Vendor

    name = factory.Sequence(lambda n: f"vendor-{n}")
    title = factory.LazyAttribute(lambda vendor: vendor.name.title())

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Vendor:
        return services.create_vendor(by=BY, **kwargs)


class TenantFactory(factory.django.DjangoModelFactory[Tenant]):
    class Meta:
        model = Tenant

    vendor = factory.SubFactory(VendorFactory)
    name = factory.Sequence(lambda n: f"tenant-{n}")

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Tenant:
        return services.create_tenant(by=BY, **kwargs)


class MemberFactory(factory.django.DjangoModelFactory[Member]):
    class Meta:
        model = Member

    tenant = factory.SubFactory(TenantFactory)
    email = factory.Sequence(lambda n: f"member-{n}@example.com")
    role = "admin"
    password = PASSWORD

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Member:
        return services.add_member(by=BY, **kwargs)


class OperatorFactory(factory.django.DjangoModelFactory[Member]):
    class Meta:
        model = Member

    vendor = factory.SubFactory(VendorFactory)
    email = factory.Sequence(lambda n: f"operator-{n}@example.com")
    password = PASSWORD

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Member:
        return services.add_operator(by=BY, **kwargs)


class ProxyKeyFactory(factory.django.DjangoModelFactory[ProxyKey]):
    class Meta:
        model = ProxyKey

    vendor = factory.SubFactory(VendorFactory)
    public_key = factory.LazyFunction(lambda: bytes(PrivateKey.generate().public_key))
    label = factory.Sequence(lambda n: f"proxy {n}")

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> ProxyKey:
        return services.register_proxy_key(by=BY, **kwargs)


def record(config: Config, version: int, boxes: dict[str, bytes]) -> sealed.Record:
    """A record as a browser posts it, around any bytes."""
    kind: Any = config.kind
    return sealed.Record(tenant=config.tenant.name, config=config.number, kind=kind, version=version, boxes=boxes)


def boxes(vendor: Vendor, content: bytes = b"nobody looks inside") -> dict[str, bytes]:
    """One sealed box for each of the vendor's active keys."""
    keys = vendor.proxy_keys.filter(state="active")
    return {key.key: sealed.seal(content, bytes(key.public_key)) for key in keys}


def publish(config: Config, by: Actor = BY) -> ConfigVersion:
    """The next version of `config`, sealed to every active key."""
    following = services.draft(config)
    found = record(config, following.version, boxes(config.tenant.vendor))
    return services.publish_record(tenant=config.tenant, record=found, by=by)


def document(config: Config, key: ProxyKey, body: contract.KmsBody | contract.SiemBody) -> contract.Document:
    """The document of the next version for one proxy key."""
    following = services.draft(config)
    kind: Any = config.kind
    binding = contract.Binding(
        vendor=config.tenant.vendor.name,
        tenant=config.tenant.name,
        config=config.number,
        kind=kind,
        version=following.version,
        previous=following.previous,
        created="2026-01-31T12:00:00+00:00",
        tsp_key=key.key,
    )
    return contract.Document(binding, body)


def secret(config: Config, path: str = "mail", kind: str = "deterministic", wrapped: bytes = b"edek") -> TenantSecret:
    """The current secret of a place, as a proxy leaves it."""
    tenant = config.tenant
    services.keep_secret(tenant=tenant, config=config.number, kind=kind, path=path, wrapped=wrapped, by=BY)
    found: TenantSecret = TenantSecret.objects.get(tenant=tenant, kind=kind, path=path, state="current")
    return found


def settle(tenant: Tenant) -> None:
    """Let the tenant's secrets be as old as if every proxy had heard of them."""
    rows = TenantSecret.objects.filter(tenant=tenant)
    QuerySet.update(rows, changed=timezone.now() - timedelta(seconds=SETTLE_SECONDS + 1))


def account(tenant: Tenant, role: str = "admin") -> User:
    """A person who may sign in for `tenant`."""
    return MemberFactory(tenant=tenant, role=role).user


def as_json(found: sealed.Record) -> dict[str, Any]:
    shown = sealed.dump(found)
    assert all(base64.b64decode(box) for box in shown["boxes"].values())
    return shown
