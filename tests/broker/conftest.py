"""One vendor with a proxy key, one tenant with its people, and their browsers."""

from __future__ import annotations

import pytest
from django.test import Client

from broker.models import Config, Tenant, Vendor
from broker.services import allocate_config
from tests.broker.factories import BY, MemberFactory, OperatorFactory, ProxyKeyFactory, TenantFactory


@pytest.fixture
def vendor() -> Vendor:
    made: Vendor = ProxyKeyFactory().vendor
    return made


@pytest.fixture
def tenant(vendor: Vendor) -> Tenant:
    return TenantFactory(vendor=vendor)


@pytest.fixture
def config(tenant: Tenant) -> Config:
    return allocate_config(tenant=tenant, kind="kms", label="Production key", by=BY)


@pytest.fixture
def admin(tenant: Tenant) -> Client:
    """The browser of the tenant's admin."""
    return _signed_in(MemberFactory(tenant=tenant, role="admin"))


@pytest.fixture
def viewer(tenant: Tenant) -> Client:
    return _signed_in(MemberFactory(tenant=tenant, role="viewer"))


@pytest.fixture
def operator(vendor: Vendor) -> Client:
    """The browser of the vendor's operator."""
    return _signed_in(OperatorFactory(vendor=vendor))


@pytest.fixture
def stranger() -> Client:
    """The browser of another vendor's tenant's admin."""
    return _signed_in(MemberFactory())


@pytest.fixture
def neighbour(vendor: Vendor) -> Client:
    """The browser of the admin of another tenant of the same vendor."""
    return _signed_in(MemberFactory(tenant=TenantFactory(vendor=vendor)))


def _signed_in(member: object) -> Client:
    client = Client()
    client.force_login(member.user)  # type: ignore[attr-defined]
    return client
