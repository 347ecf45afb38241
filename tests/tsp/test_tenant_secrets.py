"""Tenant secrets in the data plane: under a lease they cost no call, they are bound to their place, rotations go on."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.errors import KmsRefused, KmsUnreachable
from tests.support.secret_portal import TOKEN, SecretPortal, wrapped_of
from tests.tsp.conftest import _end
from tests.tsp.doubles import FakeKms, ManualClock, Reply, Tenants, World, call, request, world
from tsp.contract import events
from tsp.contract.secrets import CACHE_SECONDS
from tsp.contract.tenant import Leasing
from tsp.secret_store import BrokerSecrets

ROUTE = "key/derive-with-secret-path"


@pytest.fixture
def portal() -> Iterator[SecretPortal]:
    made = SecretPortal()
    yield made
    made.stop()


@pytest.fixture(params=[False, True], ids=["direct", "leased"])
async def plane(request: pytest.FixtureRequest, tmp_path: Path, portal: SecretPortal) -> AsyncIterator[World]:
    """A data plane whose secrets are at the portal."""
    made = at_portal(tmp_path, portal, request.param)
    yield made
    await _end(made)


def at_portal(folder: Path, portal: SecretPortal, leased: bool = False, tenants: Tenants | None = None) -> World:
    clock = ManualClock()
    store = BrokerSecrets(portal.url, TOKEN, name="tsp-1", clock=clock)
    return world(folder, leasing=Leasing(enabled=leased), clock=clock, secrets=store, tenants=tenants)


async def derive(made: World, tenant: str = "a", kind: str = "deterministic", **paths: list[str]) -> Reply:
    asked = request(tenant, paths=paths or {"p": ["q"]}, derivationType="sha512", secretType=kind)
    return await call(made.plane.app, ROUTE, asked)


async def keys(made: World, **paths: list[str]) -> list[tuple[int, bool, str]]:
    """(id, current, derived key) of path p, name q, in the order of the reply."""
    answer = (await derive(made, **paths)).json()
    return [(k["tenantSecretId"], k["current"], k["derivedKey"]) for k in answer["derivedKeys"]["p"]["q"]]


async def test_a_thousand_first_requests_make_one_secret(plane: World, portal: SecretPortal) -> None:
    found = await asyncio.gather(*(keys(plane) for _ in range(1000)))
    assert len({str(one) for one in found}) == 1
    assert len(portal.posted) == 1


async def test_under_a_lease_deriving_costs_no_call(tmp_path: Path, portal: SecretPortal) -> None:
    """The lease's own two calls are all: no call for making a secret, and none for using it."""
    made = at_portal(tmp_path, portal, leased=True)
    await call(made.plane.app, "document/wrap", request())
    calls = list(made.kms().adapter.calls)
    for at in range(20):
        assert (await derive(made, **{f"p{at % 4}": ["q"]})).status == 200
    assert made.kms().adapter.calls == calls
    assert all(event.leased and event.edek for event in made.trail.of(events.DERIVE))
    await _end(made)


async def test_a_restarted_proxy_derives_the_same_keys(plane: World, portal: SecretPortal, tmp_path: Path) -> None:
    before = await keys(plane)
    (tmp_path / "second").mkdir()
    again = at_portal(tmp_path / "second", portal, tenants=plane.tenants)
    assert await keys(again) == before
    await _end(again)


async def test_a_rotation_opens_with_both_and_encrypts_with_the_new_one(plane: World, portal: SecretPortal) -> None:
    [(_, _, old)] = await keys(plane)
    portal.rotate("a", "deterministic", "p")
    assert await keys(plane) == [(1, True, old)], "remembered for some seconds"
    plane.clock.advance(CACHE_SECONDS + 0.1)
    [(second, now, fresh), (first, then, same)] = await keys(plane)
    assert (first, then, same) == (1, False, old)
    assert (second, now) == (2, True)
    assert fresh != old


async def test_a_rotation_without_a_primary_goes_on_with_the_old_one(plane: World, portal: SecretPortal) -> None:
    before = await keys(plane)
    portal.rotate("a", "deterministic", "p")
    plane.clock.advance(CACHE_SECONDS + 0.1)
    plane.tenants.by_name["a"].has_primary = False
    answer = (await derive(plane)).json()
    assert answer["hasPrimaryConfig"] is False
    assert await keys(plane) == before
    assert len(portal.posted) == 1


async def test_a_rotation_whose_new_secret_cannot_be_kept_goes_on_with_the_old_one(
    plane: World, portal: SecretPortal
) -> None:
    before = await keys(plane)
    portal.rotate("a", "deterministic", "p")
    plane.clock.advance(CACHE_SECONDS + 0.1)
    [row] = portal.rows("a", "deterministic", "p")
    body = b'{"secrets":[{"id":1,"wrapped":"%s","current":true}],"wanting":true}' % row["wrapped"].encode()
    portal.raw = (200, body)
    assert await keys(plane) == before
    portal.raw = None
    plane.clock.advance(CACHE_SECONDS + 0.1)
    assert [number for number, _, _ in await keys(plane)] == [2, 1]


async def test_a_secret_in_another_place_does_not_open(plane: World, portal: SecretPortal) -> None:
    """A portal that shows one secret for another gains nothing: neither equal keys nor keys at all."""
    for kind, path in (("deterministic", "p"), ("vector", "p"), ("deterministic", "other")):
        assert (await derive(plane, "a", kind, **{path: ["q"]})).status == 200
    for other in (("a", "vector", "p"), ("a", "deterministic", "other")):
        portal.swap(("a", "deterministic", "p"), other)
        plane.clock.advance(CACHE_SECONDS + 0.1)
        answer = await derive(plane)
        assert (answer.status, answer.json()["code"]) == (422, 205)
        portal.swap(("a", "deterministic", "p"), other)
    plane.clock.advance(CACHE_SECONDS + 0.1)
    assert (await derive(plane)).status == 200


async def test_another_tenants_secret_does_not_open(plane: World, portal: SecretPortal) -> None:
    await derive(plane, "a")
    await derive(plane, "b")
    portal.swap(("a", "deterministic", "p"), ("b", "deterministic", "p"))
    plane.clock.advance(CACHE_SECONDS + 0.1)
    assert (await derive(plane)).json()["code"] == 202


async def test_no_secret_opens_as_a_data_key_and_no_data_key_as_a_secret(plane: World, portal: SecretPortal) -> None:
    """Whoever reads the portal's database and has an API key must not get a tenant secret through unwrap."""
    await derive(plane)
    [row] = portal.rows("a", "deterministic", "p")
    answer = await call(plane.plane.app, "document/unwrap", request(encryptedDocumentKey=row["wrapped"]))
    assert answer.json()["code"] == 205
    made = (await call(plane.plane.app, "document/wrap", request())).json()
    row["wrapped"] = made["edek"]
    plane.clock.advance(CACHE_SECONDS + 0.1)
    assert (await derive(plane)).json()["code"] == 205


async def test_the_portal_gets_ciphertext_only(plane: World, portal: SecretPortal) -> None:
    """What it got is an EDEK of the primary configuration, and holds neither the secret nor what is derived."""
    [(_, _, key)] = await keys(plane)
    [posted] = portal.posted
    assert posted["config"] == 11
    assert set(posted) == {"tsp", "tenant", "type", "path", "config", "wrapped"}
    assert base64.b64decode(key) not in wrapped_of(posted)


@pytest.mark.parametrize("error", [KmsRefused, KmsUnreachable])
async def test_a_key_service_that_says_no_makes_no_secret(plane: World, portal: SecretPortal, error: Any) -> None:
    plane.kms().adapter.failure = error()
    assert (await derive(plane)).json()["code"] == error.code
    assert portal.posted == []
    assert [event.outcome for event in plane.trail.of(events.DERIVE)] == ["refused" if error is KmsRefused else "error"]


async def test_a_refusal_of_the_leased_key_ends_deriving_and_access_heals(tmp_path: Path, portal: SecretPortal) -> None:
    """R-5 and R-6: secrets under a lease are as revocable as data keys."""
    made = at_portal(tmp_path, portal, leased=True)
    before = await keys(made)
    made.kms().adapter.failure = KmsRefused()
    made.plane.leases.refuse("a", 11, KmsRefused())
    assert (await derive(made)).json()["code"] == 206
    made.kms().adapter.failure = None
    made.clock.advance(2)
    assert await keys(made) == before
    await _end(made)


async def test_a_refusal_while_the_event_becomes_durable_keeps_the_keys_back(
    plane: World, portal: SecretPortal
) -> None:
    await derive(plane)
    plane.trail.then = lambda: plane.plane.leases.refuse("a", 11, KmsRefused())
    answer = await derive(plane)
    assert answer.json()["code"] == 206
    assert b"derivedKey" not in answer.body


async def test_secrets_stay_under_the_key_that_made_them(plane: World, portal: SecretPortal) -> None:
    """A new primary makes new secrets; the old one must stay active for the old ones, and says so with 202."""
    before = await keys(plane)
    tenant = plane.tenants.by_name["a"]
    tenant.kms.append(FakeKms(12))
    assert await keys(plane) == before
    await derive(plane, **{"new": ["q"]})
    assert [posted["config"] for posted in portal.posted] == [11, 12]
    del tenant.kms[0]
    assert (await derive(plane)).json()["code"] == 202
    assert (await derive(plane, **{"new": ["q"]})).status == 200


async def test_without_the_portal_nothing_new_is_made(plane: World, portal: SecretPortal) -> None:
    before = await keys(plane)
    portal.raw = (503, b"{}")
    plane.clock.advance(CACHE_SECONDS + 0.1)
    assert await keys(plane) == before
    answer = await derive(plane, **{"new": ["q"]})
    assert (answer.status, answer.json()["code"]) == (500, 401)
    assert "portal" in answer.json()["message"]


async def test_an_unknown_tenant_is_201_and_nobody_is_asked(plane: World, portal: SecretPortal) -> None:
    assert (await derive(plane, "nobody")).json()["code"] == 201
    assert portal.asked == []


@pytest.mark.parametrize("path", ["a\0b", "\0"])
async def test_a_path_that_no_database_takes_is_102(plane: World, portal: SecretPortal, path: str) -> None:
    assert (await derive(plane, **{path: ["q"]})).json()["code"] == 102
    assert portal.asked == []


async def test_each_derive_is_one_event_for_each_secret(plane: World, portal: SecretPortal) -> None:
    await derive(plane, p=["x", "y", "x"], other=["z"])
    told = plane.trail.of(events.DERIVE)
    assert sorted((event.count, event.config) for event in told) == [(1, 11), (2, 11)]
    assert len({event.edek for event in told}) == 2
