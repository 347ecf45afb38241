"""Many keys wrapped anew in one call, an extension of ours: what it answers, tells and keeps back (docs/wire.md 7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from encrypted_fields.core.errors import KmsRefused
from tests.tsp.doubles import FakeKms, World, call, request
from tsp.contract import events
from tsp.contract.events import AuditEvent

ROUTE = "document/batch-rekey"


@pytest.fixture(params=["direct", "leased"])
def either(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made


async def wrapped(world: World, *ids: str, tenant: str = "a") -> dict[str, dict[str, str]]:
    answer = await call(world.plane.app, "document/batch-wrap", request(tenant, documentIds=list(ids)))
    made: dict[str, dict[str, str]] = answer.json()["keys"]
    return made


def edeks(made: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: key["edek"] for name, key in made.items()}


async def opened(world: World, asked: dict[str, str], tenant: str = "a") -> Any:
    return (await call(world.plane.app, "document/batch-unwrap", request(tenant, edeks=asked))).json()


async def test_gives_the_same_keys_under_the_other_tenant_and_shows_none(either: World) -> None:
    made = await wrapped(either, "x", "y")
    answer = (await call(either.plane.app, ROUTE, request(edeks=edeks(made), newTenantId="b"))).json()
    assert answer["failures"] == {}
    assert [set(key) for key in answer["keys"].values()] == [{"edek"}] * 2
    theirs = await opened(either, edeks(answer["keys"]), "b")
    assert theirs["keys"] == {name: {"dek": key["dek"]} for name, key in made.items()}
    assert (await opened(either, edeks(answer["keys"])))["keys"] == {}
    assert len((await opened(either, edeks(made)))["keys"]) == 2  # the old ones stay usable


async def test_takes_the_present_primary_of_the_same_tenant(direct: World) -> None:
    made = await wrapped(direct, "x", "y")
    direct.tenants.by_name["a"].kms.append(FakeKms(12))
    again = (await call(direct.plane.app, ROUTE, request(edeks=edeks(made), newTenantId="a"))).json()["keys"]
    direct.tenants.by_name["a"].kms.pop(0)
    found = await opened(direct, edeks(again))
    assert found["keys"] == {name: {"dek": key["dek"]} for name, key in made.items()}


async def test_a_failure_of_one_key_is_its_own(either: World) -> None:
    """R-33: and the order is kept."""
    made = edeks(await wrapped(either, "x", "y"))
    theirs = edeks(await wrapped(either, "z", tenant="b"))
    asked = {"bad": "?", **made, "foreign": "ZWRlaw==", **theirs}
    answer = await call(either.plane.app, ROUTE, request(edeks=asked, newTenantId="a"))
    assert (answer.status, list(answer.json()["keys"])) == (200, ["x", "y"])
    found = {name: one["code"] for name, one in answer.json()["failures"].items()}
    assert found == {"bad": 102, "foreign": 203, "z": 202}
    assert [(event.object_id, event.outcome) for event in either.trail.of(events.REKEY)] == [
        ("bad", "error"), ("x", "success"), ("x", "success"), ("y", "success"), ("y", "success"),
        ("foreign", "error"), ("z", "refused"),
    ]  # fmt: skip


async def test_each_key_makes_the_events_of_a_single_rekey(either: World) -> None:
    """One in either trail, with the fingerprint of the old and of the new wrapped key."""
    made = await wrapped(either, "x")
    icl = {"requestingId": "user-1", "dataLabel": "PII", "objectId": "o-9"}
    body = request(newTenantId="b", iclFields=icl, customFields={"k": "v"})
    await call(either.plane.app, "document/rekey", {**body, "encryptedDocumentKey": made["x"]["edek"]})
    await call(either.plane.app, ROUTE, {**body, "edeks": edeks(made)})
    single, many = either.trail.of(events.REKEY)[:2], either.trail.of(events.REKEY)[2:]
    assert [event.tenant for event in many] == ["a", "b"]
    for one, other in zip(single, many, strict=True):
        assert content(one) == content(other)
    assert many[0].edek == single[0].edek != many[1].edek


def content(event: AuditEvent) -> dict[str, Any]:
    """All but what differs from one rekey to the next."""
    found = {name: getattr(event, name) for name in event.__struct_fields__}
    return {name: value for name, value in found.items() if name not in ("id", "time", "ray_id", "edek")}


async def test_no_key_moves_before_its_events_are_durable(either: World) -> None:
    made = edeks(await wrapped(either, "x"))
    either.trail.full = True
    answer = await call(either.plane.app, ROUTE, request(edeks=made, newTenantId="b"))
    assert (answer.status, answer.json()["code"]) == (503, 100)
    assert set(answer.json()) == {"code", "message"}


async def test_a_refusal_while_the_events_are_written_keeps_the_new_edek_back(either: World) -> None:
    """R-5: of either tenant."""
    made = edeks(await wrapped(either, "x"))
    for tenant, config in (("b", 22), ("a", 11)):
        either.trail.then = lambda who=tenant, number=config: either.plane.leases.refuse(who, number, KmsRefused())
        answer = (await call(either.plane.app, ROUTE, request(edeks=made, newTenantId="b"))).json()
        assert answer["keys"] == {}
        assert answer["failures"]["x"]["code"] == 206
        assert either.trail.of(events.REKEY)[-1].outcome == "refused"


async def test_without_a_primary_of_the_target_the_whole_request_fails(direct: World) -> None:
    made = edeks(await wrapped(direct, "x"))
    direct.tenants.by_name["b"].has_primary = False
    answer = await call(direct.plane.app, ROUTE, request(edeks=made, newTenantId="b"))
    assert (answer.status, answer.json()["code"]) == (422, 200)
    assert [(event.tenant, event.outcome) for event in direct.trail.of(events.REKEY)] == [("a", "refused")]
    answer = await call(direct.plane.app, ROUTE, request(edeks=made, newTenantId="nobody"))
    assert answer.json()["code"] == 201


async def test_a_large_batch_does_not_hold_up_other_requests(leased: World) -> None:
    made = edeks(await wrapped(leased, *map(str, range(2_000))))
    ended: list[str] = []

    async def ask(route: str, **more: Any) -> None:
        assert (await call(leased.plane.app, route, request(**more))).status == 200
        ended.append(route)

    await asyncio.gather(ask(ROUTE, edeks=made, newTenantId="a"), ask("document/wrap"))
    assert ended == ["document/wrap", ROUTE]


async def test_is_counted_by_its_own_name(direct: World) -> None:
    await call(direct.plane.app, ROUTE, request(edeks={}, newTenantId="b"))
    assert direct.plane.app.requests[ROUTE, 0] == 1
    assert ROUTE in direct.plane.app.seconds
