"""A vendor with a proxy of its own, and a person who signs in, for the browser tests."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from nacl.public import PrivateKey, SealedBox
from playwright.sync_api import Page, expect

from broker import services
from broker.models import Tenant, Vendor
from tests.broker.factories import BY, PASSWORD
from tsp.contract import sealed
from tsp.contract import tenant as contract

EMAIL = "dana@stmarys.example"


@dataclass
class Proxy:
    """As much of a proxy as the portal sees: it fetches, opens with PyNaCl, and reports."""

    url: str
    token: str
    private: list[PrivateKey]

    def records(self) -> list[sealed.Record]:
        found = json.loads(self._call("/api/proxy/configs?after=0"))
        return [sealed.load(record) for record in found["records"]]

    def opened(self, record: sealed.Record) -> list[tuple[str, bytes]]:
        """(key id, document) of every box."""
        keys = {sealed.key_id(bytes(key.public_key)): key for key in self.private}
        return [(name, SealedBox(keys[name]).decrypt(box)) for name, box in record.boxes.items()]

    def report(self, record: sealed.Record, state: str, reason: str = "") -> None:
        result = {"tenant": record.tenant, "config": record.config, "version": record.version, "state": state}
        body = {"tsp": "eu-1", "version": "0.1.0", "keys": [], "results": [{**result, "reason": reason}]}
        self._call("/api/proxy/status", body)

    def _call(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as response:
            return bytes(response.read())


@dataclass
class Portal:
    """A portal with one vendor, one tenant with an admin, and two proxy keys."""

    url: str
    vendor: Vendor
    tenant: Tenant
    proxy: Proxy

    def sign_in(self, page: Page, path: str = "") -> None:
        page.goto(f"{self.url}/login/?next=/tenants/{self.tenant.pk}/{path}")
        page.get_by_label("E-mail address").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{self.url}/tenants/{self.tenant.pk}/{path}")


def portal(url: str, keys: int = 2) -> Portal:
    vendor = services.create_vendor(name="acme", title="Acme Health", colour="#0f766e", by=BY)
    tenant = services.create_tenant(vendor=vendor, name="st-marys", title="St. Mary's Clinic", by=BY)
    services.add_member(tenant=tenant, email=EMAIL, password=PASSWORD, full_name="Dana Ortiz", by=BY)
    private = [PrivateKey.generate() for _ in range(keys)]
    for number, key in enumerate(private, 1):
        services.register_proxy_key(vendor=vendor, public_key=bytes(key.public_key), label=f"Proxies {number}", by=BY)
    token = services.issue_service_token(vendor=vendor, label="eu", by=BY)
    return Portal(url, vendor, tenant, Proxy(url, token, private))


def document(data: bytes) -> contract.Document:
    """The document in a box, which must be written exactly as the proxy's own side writes it."""
    found = contract.load(data)
    assert contract.dump(found) == data
    return found
