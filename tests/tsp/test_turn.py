"""Requests of one turn of the loop are recorded together, and still fail and succeed each by itself."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

from encrypted_fields.core.errors import AuditUnavailable
from tests.tsp.doubles import Reply, World, call, request
from tsp.contract.events import AuditEvent


async def _at_once(world: World, asked: Sequence[tuple[str, dict[str, Any]]]) -> list[Reply]:
    return list(await asyncio.gather(*(call(world.plane.app, f"document/{route}", body) for route, body in asked)))


def _count(world: World, refuses: str = "") -> list[list[str]]:
    """The tenants of each call to the trail from here on; the tenant `refuses` has no room."""
    calls: list[list[str]] = []
    record = world.trail.record

    async def counted(events: Sequence[AuditEvent]) -> None:
        calls.append([event.tenant for event in events])
        if refuses in calls[-1]:
            raise AuditUnavailable
        await record(events)

    world.trail.record = counted  # type: ignore[method-assign]
    return calls


async def test_requests_that_come_together_are_one_call_to_the_trail(leased: World) -> None:
    made = {name: (await _at_once(leased, [("wrap", request(name))]))[0].json() for name in "ab"}
    calls = _count(leased)
    asked = [("unwrap", request(name, encryptedDocumentKey=made[name]["edek"])) for name in "abab"]
    replies = await _at_once(leased, [*asked, ("wrap", request("a"))])
    assert [one.json()["dek"] for one in replies[:4]] == [made[name]["dek"] for name in "abab"]
    assert calls == [["a", "b", "a", "b", "a"]]


async def test_one_that_fails_takes_no_other_along(leased: World) -> None:
    """A foreign EDEK and a changed one between good ones; each failure has its event."""
    made, foreign = await _at_once(leased, [("wrap", request(name)) for name in "ab"])
    good = made.json()["edek"]
    spoilt = bytearray(base64.b64decode(good))
    spoilt[60] ^= 1
    edeks = [good, foreign.json()["edek"], good, base64.b64encode(spoilt).decode(), good]
    before = len(leased.trail.events)
    replies = await _at_once(leased, [("unwrap", request(encryptedDocumentKey=edek)) for edek in edeks])
    assert [one.json().get("code", 0) for one in replies] == [0, 202, 0, 205, 0]
    assert sorted(event.code for event in leased.trail.events[before:]) == [0, 0, 0, 202, 205]


async def test_a_tenant_without_room_in_the_trail_keeps_no_other_tenants_key_back(leased: World) -> None:
    """R-29: what cannot be recorded together is recorded one by one, and only what is recorded is released."""
    await _at_once(leased, [("wrap", request(name)) for name in "ab"])
    calls = _count(leased, refuses="b")
    replies = await _at_once(leased, [("wrap", request(name)) for name in "aba"])
    assert [one.status for one in replies] == [200, 503, 200]
    assert calls[0] == ["a", "b", "a"]
    assert calls[1:] == [["a"], ["b"], ["a"]]


async def test_a_refusal_while_the_events_are_written_keeps_every_key_of_the_turn_back(leased: World) -> None:
    """R-5: the last look is each request's own."""
    await _at_once(leased, [("wrap", request("a"))])
    lease = next(lease for _, lease in leased.plane.leases.all())
    leased.trail.then = lambda: lease.lek.wipe()
    replies = await _at_once(leased, [("wrap", request("a")) for _ in range(5)])
    assert {one.status for one in replies} == {503}
    assert not [one for one in replies if "dek" in one.json()]


async def test_a_refusal_after_the_events_are_written_keeps_back_what_has_not_been_answered(leased: World) -> None:
    """R-5: the tenant says no when the turn is recorded, and before its requests are answered."""
    await _at_once(leased, [("wrap", request("a"))])
    lease = next(lease for _, lease in leased.plane.leases.all())
    leased.trail.then = lambda: asyncio.get_running_loop().call_soon(lease.lek.wipe)  # before who asked goes on
    replies = await _at_once(leased, [("wrap", request("a")) for _ in range(5)])
    assert {one.status for one in replies} == {503}


async def test_who_went_away_costs_no_key_and_no_event(leased: World) -> None:
    await _at_once(leased, [("wrap", request("a"))])
    before = len(leased.trail.events)
    gone = asyncio.ensure_future(call(leased.plane.app, "document/wrap", request("a")))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await _at_once(leased, [("wrap", request("a"))]))[0].status == 200
    assert len(leased.trail.events) == before + 1
