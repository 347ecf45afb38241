"""Tenant secrets from end to end: two proxies, a real portal on PostgreSQL, IronCore's clients through a rotation."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterator
from typing import Any

import httpx
import ironcore_alloy as alloy
import pytest

from tests.interop.clients import NodeClient, RefusedError, b64, metadata, saas_shield
from tests.support.fleet import API_KEY, Fleet
from tests.support.postgres import Postgres
from tsp.contract.secrets import CACHE_SECONDS
from tsp.kms.local import set_enabled

pytestmark = pytest.mark.timeout(180)
ROUTE = "/api/1/key/derive-with-secret-path"
TENANTS = ("a", "b")  # direct, and under a lease
PLAIN = alloy.PlaintextField(plaintext_field=b"jim@x.org", secret_path="mail", derivation_path="clinic")
TYPED = {"plaintextField": b64(b"jim@x.org"), "secretPath": "mail", "derivationPath": "clinic"}
Keys = list[tuple[int, bool, str]]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Fleet]:
    running = Fleet(tmp_path_factory.mktemp("fleet"), postgres_server)
    yield running
    running.stop()


async def derive(session: httpx.AsyncClient, url: str, tenant: str, path: str, kind: str = "deterministic") -> Keys:
    body = {
        "tenantId": tenant,
        "iclFields": {"requestingId": "user-1"},
        "customFields": {},
        "paths": {path: ["q"]},
        "derivationType": "sha512",
        "secretType": kind,
    }
    answer = await session.post(url + ROUTE, json=body, headers={"Authorization": f"cmk {API_KEY}"})
    assert answer.status_code == 200, answer.text
    found = answer.json()["derivedKeys"][path]["q"]
    return [(key["tenantSecretId"], key["current"], key["derivedKey"]) for key in found]


async def until(fleet: Fleet, tenant: str, ids: list[int]) -> None:
    """Returns when every proxy derives from these secrets in this order; within the seconds that they remember."""
    began = time.monotonic()
    async with httpx.AsyncClient(trust_env=False, timeout=20) as session:
        for url in fleet.urls:
            while (found := [number for number, _, _ in await derive(session, url, tenant, "mail")]) != ids:
                assert time.monotonic() - began < 12, f"{url} still derives from {found}"
                await asyncio.sleep(0.2)


def field(data: bytes) -> alloy.EncryptedField:
    return alloy.EncryptedField(encrypted_field=data, secret_path="mail", derivation_path="clinic")


def secrets(fleet: Fleet, tenant: str) -> dict[str, int]:
    query = (
        "SELECT state, number FROM broker_tenantsecret JOIN broker_tenant ON broker_tenant.id = tenant_id "
        f"WHERE name = '{tenant}' AND path = 'mail'"
    )
    return dict(fleet.rows(query))


async def test_two_proxies_that_race_for_a_hundred_secrets_make_a_hundred(fleet: Fleet) -> None:
    """A loser gets the winner's secret, so both derive the same keys from the first reply on."""
    places = [("ab"[at % 2], f"path {at} ✓") for at in range(100)]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as session:
        asked = [derive(session, url, *place, "vector") for place in places for url in fleet.urls]
        found = await asyncio.gather(*asked)
    for at in range(0, len(found), 2):
        assert found[at] == found[at + 1]
        assert len(found[at]) == 1
    assert len({keys[0][0] for keys in found}) == len({keys[0][2] for keys in found}) == 100
    query = "SELECT count(*), count(DISTINCT (place, tenant_id)), min(state) FROM broker_tenantsecret"
    assert fleet.rows(f"{query} WHERE kind = 'vector'") == [(100, 100, "current")]


async def test_both_clients_go_through_a_rotation(fleet: Fleet) -> None:
    """begin → both open, the old one encrypts; half a minute later the new one does; commit → the old one is gone."""
    node = NodeClient(fleet.urls[1], API_KEY)
    try:
        travellers = [Traveller(fleet, node, tenant) for tenant in TENANTS]
        for one in travellers:
            await one.sets_out()
            fleet.rotate("begin", one.tenant, "mail")
        await asyncio.sleep(CACHE_SECONDS + 0.2)
        for one in travellers:
            await one.finds_both_and_encrypts_with_the_old_one()
        fleet.settle()
        for one in travellers:
            await one.finds_both_and_encrypts_with_the_new_one()
            fleet.rotate("commit", one.tenant, "mail")
        for one in travellers:
            await one.finds_the_new_one_only()
    finally:
        node.close()


class Traveller:
    """One tenant's data on its way: alloy through the first proxy, the Node client through the second."""

    def __init__(self, fleet: Fleet, node: NodeClient, tenant: str) -> None:
        self.fleet, self.node, self.tenant = fleet, node, tenant
        self.fields = saas_shield(fleet.urls[0], API_KEY).deterministic()
        self.whose = metadata(tenant)

    async def sets_out(self) -> None:
        self.old, self.node_old = await self.encrypted()
        self.first = secrets(self.fleet, self.tenant)["current"]

    async def finds_both_and_encrypts_with_the_old_one(self) -> None:
        assert await self.encrypted() == (self.old, self.node_old)
        self.second = secrets(self.fleet, self.tenant)["current"]
        await until(self.fleet, self.tenant, [self.first, self.second])
        assert await self.encrypted() == (self.old, self.node_old)

    async def finds_both_and_encrypts_with_the_new_one(self) -> None:
        await until(self.fleet, self.tenant, [self.second, self.first])
        self.new, self.node_new = await self.encrypted()
        assert int.from_bytes(self.new[:4], "big") == self.second
        for data in (self.old, self.new):
            assert await self.fields.decrypt(field(data), self.whose) == PLAIN
        for each in (self.node_old, self.node_new):
            assert self.node.call("decryptField", self.tenant, field=each) == TYPED
        terms = (await self.fields.generate_query_field_values({"q": PLAIN}, self.whose))["q"]
        assert [term.encrypted_field for term in terms] == [self.new, self.old]
        assert self.node.call("searchTerms", self.tenant, field=TYPED) == [self.node_new, self.node_old]
        moved = await self.fields.rotate_fields({"r": field(self.old), "n": field(self.new)}, self.whose, None)
        assert {each.encrypted_field for each in moved.successes.values()} == {self.new}
        assert self.node.call("rotateField", self.tenant, field=self.node_old) == self.node_new
        assert await self.fields.get_in_rotation_prefix("mail", "clinic", self.whose) == self.old[:6]

    async def finds_the_new_one_only(self) -> None:
        await until(self.fleet, self.tenant, [self.second])
        assert await self.fields.decrypt(field(self.new), self.whose) == PLAIN
        with pytest.raises(alloy.AlloyError):
            await self.fields.decrypt(field(self.old), self.whose)
        with pytest.raises(RefusedError):
            self.node.call("decryptField", self.tenant, field=self.node_old)
        assert secrets(self.fleet, self.tenant) == {"archived": self.first, "current": self.second}

    async def encrypted(self) -> tuple[bytes, Any]:
        """The same text by both clients; each is deterministic, and neither reads the other's (wire.md 7.3)."""
        made = await self.fields.encrypt(PLAIN, self.whose)
        return made.encrypted_field, self.node.call("encryptField", self.tenant, field=TYPED)


async def test_a_lost_secret_comes_back_from_the_backup_and_opens_again(fleet: Fleet) -> None:
    """The backup holds ciphertext; with it, and with the tenant's key, nothing is lost."""
    file = fleet.folder / "backup.json"
    fields = saas_shield(fleet.urls[0], API_KEY).deterministic()
    plain = alloy.PlaintextField(plaintext_field=b"jim@x.org", secret_path="backup", derivation_path="clinic")
    sealed = await fields.encrypt(plain, metadata("a"))
    fleet.manage("broker_secrets", "export", "--vendor", "acme", "--out", str(file))
    assert fleet.rows("DELETE FROM broker_tenantsecret WHERE path = 'backup' RETURNING number")
    assert "1 restored" in fleet.manage("broker_secrets", "restore", "--vendor", "acme", str(file))
    other = saas_shield(fleet.urls[1], API_KEY).deterministic()  # this proxy has never seen it
    assert await other.decrypt(sealed, metadata("a")) == plain


async def test_a_tenant_that_says_no_ends_deriving(fleet: Fleet) -> None:
    """206 in direct mode at once; what the portal still holds opens nothing."""
    set_enabled(fleet.folder / "a.json", False)
    fields = saas_shield(fleet.urls[0], API_KEY).deterministic()
    try:
        with pytest.raises(alloy.AlloyError.TspError) as caught:
            await fields.encrypt(PLAIN, metadata("a"))
        assert caught.value.tsp_code == 206
    finally:
        set_enabled(fleet.folder / "a.json", True)
    assert (await fields.encrypt(PLAIN, metadata("a"))).encrypted_field


def test_the_portals_database_and_logs_hold_no_derived_key(fleet: Fleet) -> None:
    """T-8: it moves ciphertext, and the proxies keep none of it on their disks."""

    async def some() -> list[Keys]:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as session:
            return [await derive(session, url, tenant, "mail") for url in fleet.urls for tenant in TENANTS]

    derived = [key for keys in asyncio.run(some()) for _, _, key in keys]
    wrapped: list[Any] = [bytes(row[0]) for row in fleet.rows("SELECT wrapped FROM broker_tenantsecret")]
    held = b"".join(path.read_bytes() for path in fleet.folder.rglob("*") if path.is_file())
    for key in derived:
        assert key.encode() not in held
        assert base64.b64decode(key) not in held
        assert not any(base64.b64decode(key)[:32] in one for one in wrapped)
    proxies = [fleet.folder / "tsp-1", fleet.folder / "tsp-2"]
    on_disk = b"".join(path.read_bytes() for folder in proxies for path in folder.rglob("*") if path.is_file())
    assert not any(one in on_disk or base64.b64encode(one) in on_disk for one in wrapped)
