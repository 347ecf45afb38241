"""Leased keys: one call for a thousand, held while nobody answers, gone when the tenant says no or the hour is over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.errors import (
    KmsMisconfigured,
    KmsRefused,
    KmsThrottled,
    KmsWrapFailed,
)
from tests.tsp.doubles import FakeKms, FakeTenant, FaultyKms, Tenants, World, world
from tests.tsp.lease_steps import only, tick, unwrap, wrap
from tsp.contract import events
from tsp.contract.tenant import Leasing
from tsp.leases.agreement import FileAgreement


async def test_a_thousand_requests_without_a_lease_make_one_call(leased: World) -> None:
    """R-28, for a key that was made before."""
    edek = (await wrap(leased)).json()["edek"]
    leased.plane.leases.wipe()
    kms = leased.kms().adapter
    kms.calls.clear()
    answers = await asyncio.gather(*(unwrap(leased, edek) for _ in range(1000)))
    assert {answer.status for answer in answers} == {200}
    assert kms.calls == ["unwrap"]


async def test_a_thousand_first_requests_make_one_leased_key(leased: World) -> None:
    """One wrap, and one unwrap that compares (R-30)."""
    answers = await asyncio.gather(*(wrap(leased) for _ in range(1000)))
    assert {answer.status for answer in answers} == {200}
    assert leased.kms().adapter.calls == ["wrap", "unwrap"]
    assert len(list(leased.plane.leases.all())) == 1


async def test_a_new_leased_key_that_comes_back_changed_is_not_used(leased: World) -> None:
    """R-30: one flipped bit in the key service's wrap."""
    leased.kms().adapter.flip = True
    answer = await wrap(leased)
    assert (answer.status, answer.json()["code"]) == (502, KmsWrapFailed.code)
    assert list(leased.plane.leases.all()) == []
    leased.kms().adapter.flip = False
    assert (await wrap(leased)).status == 200


async def test_a_restart_goes_on_with_the_same_leased_key_and_one_call(tmp_path: Path) -> None:
    """R-25."""
    first = world(tmp_path, leasing=Leasing(enabled=True))
    await wrap(first)
    second = world(tmp_path, tenants=first.tenants)
    first.kms().adapter.calls.clear()
    await wrap(second)
    assert second.kms().adapter.calls == ["unwrap"]
    assert only(second).digest == only(first).digest
    first.plane.close()
    second.plane.close()


async def test_losing_the_agreement_loses_no_key(tmp_path: Path) -> None:
    """R-31: the EDEK carries its ELEK."""
    first = world(tmp_path / "one", leasing=Leasing(enabled=True))
    made = (await wrap(first)).json()
    second = world(tmp_path / "two", tenants=first.tenants)
    await wrap(second)
    assert (await unwrap(second, made["edek"])).json() == {"dek": made["dek"]}
    assert len(list(second.plane.leases.all())) == 2
    first.plane.close()
    second.plane.close()


async def test_two_proxies_take_the_same_leased_key(tmp_path: Path) -> None:
    """R-27, through one folder: whoever is later adopts, and wipes its own."""
    agreement = FileAgreement(tmp_path / "leases")
    first = world(tmp_path / "one", leasing=Leasing(enabled=True), agreement=agreement)
    second = world(tmp_path / "two", tenants=first.tenants, agreement=agreement)
    answers = await asyncio.gather(*(wrap(made) for made in (first, second) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert only(first).digest == only(second).digest
    for answer in answers:
        assert (await unwrap(first, answer.json()["edek"])).status == 200
        assert (await unwrap(second, answer.json()["edek"])).status == 200
    first.plane.close()
    second.plane.close()


async def test_a_forged_agreement_is_replaced(tmp_path: Path, leased: World) -> None:
    """T-9: what is agreed is a hint that the key service has to confirm."""
    await wrap(leased)
    [path] = (tmp_path / "leases").glob("*.elek")
    for forged in (b"\x01\x01" + bytes(80), b"nonsense", b""):
        path.write_bytes(forged)
        again = world(tmp_path, tenants=leased.tenants)
        assert (await wrap(again)).status == 200
        assert path.read_bytes() == only(again).elek
        again.plane.close()


@pytest.mark.parametrize("refusal", [KmsRefused(), KmsMisconfigured()])
async def test_a_refused_renewal_wipes_at_once(leased: World, refusal: Any) -> None:
    """R-5: from the key service's word on nothing opens, though the hour is young."""
    edek = (await wrap(leased)).json()["edek"]
    lease = only(leased)
    leased.kms().adapter.failure = refusal
    leased.clock.advance(331)
    assert (await unwrap(leased, edek)).status == 200
    await tick(leased)
    assert lease.lek.wiped
    assert (await unwrap(leased, edek)).json()["code"] == refusal.code
    with pytest.raises(ValueError, match="wiped"):
        lease.lek.view()
    [event] = leased.trail.of(events.LEASE_REFUSED)
    assert event.code == refusal.code


async def test_a_refusal_of_one_leased_key_wipes_all_of_the_tenant_key(tmp_path: Path) -> None:
    first = world(tmp_path / "one", leasing=Leasing(enabled=True))
    second = world(tmp_path / "two", tenants=first.tenants)
    old = (await wrap(first)).json()["edek"]
    await wrap(second)
    await unwrap(second, old)
    held = [lease for _, lease in second.plane.leases.all()]
    other = (await wrap(second, "b")).json()["edek"]
    second.kms().adapter.failure = KmsRefused()
    second.clock.advance(331)
    await wrap(second, "a")
    await tick(second)
    assert [lease.lek.wiped for lease in held] == [True, True]
    assert (await unwrap(second, other, "b")).status == 200
    first.plane.close()
    second.plane.close()


async def test_a_refused_direct_call_wipes_the_leases_of_the_same_key(leased: World) -> None:
    """R-5: the tenant switched leasing off a while ago; both kinds of EDEKs are about."""
    edek = (await wrap(leased)).json()["edek"]
    lease = only(leased)
    leased.kms().leasing = Leasing()
    leased.kms().adapter.failure = KmsRefused()
    assert (await wrap(leased)).json()["code"] == 206
    assert lease.lek.wiped
    assert (await unwrap(leased, edek)).json()["code"] == 206


async def test_a_tampered_edek_does_not_end_the_tenants_lease(leased: World) -> None:
    """Who can send EDEKs must not be able to take a tenant's access away."""
    edek = (await wrap(leased)).json()["edek"]
    lease = only(leased)
    middle = len(edek) // 2
    changed = edek[:middle] + ("A" if edek[middle] != "A" else "B") + edek[middle + 1 :]
    assert (await unwrap(leased, changed)).json()["code"] in (202, 203, 205)
    assert not lease.lek.wiped
    assert (await unwrap(leased, edek)).status == 200


async def test_throttling_is_never_a_refusal(leased: World) -> None:
    """R-4: leased tenants see no error, and the pause that was asked for is kept."""
    edek = (await wrap(leased)).json()["edek"]
    kms = leased.kms().adapter
    kms.calls.clear()
    kms.failure = KmsThrottled(retry_after=120)
    leased.clock.advance(331)
    for _ in range(11):
        assert (await unwrap(leased, edek)).status == 200
        await tick(leased)
        leased.clock.advance(10)
    assert kms.calls == ["unwrap"]


async def test_access_that_comes_back_heals_by_itself_with_one_event(leased: World) -> None:
    """R-6."""
    edek = (await wrap(leased)).json()["edek"]
    leased.plane.leases.refuse("a", 11, KmsRefused())
    leased.kms().adapter.failure = KmsRefused()
    leased.clock.advance(2)
    assert (await unwrap(leased, edek)).json()["code"] == 206
    leased.kms().adapter.failure = None
    leased.clock.advance(331)
    await tick(leased)
    assert len(leased.trail.of(events.ACCESS_RESTORED)) == 1
    assert (await unwrap(leased, edek)).status == 200
    leased.clock.advance(331)
    await tick(leased)
    assert len(leased.trail.of(events.ACCESS_RESTORED)) == 1


async def test_after_a_refusal_the_key_service_is_not_flooded(leased: World) -> None:
    edek = (await wrap(leased)).json()["edek"]
    kms = leased.kms().adapter
    kms.failure = KmsRefused()
    leased.plane.leases.refuse("a", 11, KmsRefused())
    kms.calls.clear()
    for _ in range(100):
        assert (await unwrap(leased, edek)).json()["code"] == 206
    assert kms.calls == []
    leased.clock.advance(1.1)
    await asyncio.gather(*(unwrap(leased, edek) for _ in range(100)))
    assert kms.calls == ["unwrap"]


async def test_a_proof_that_began_before_the_refusal_proves_nothing(leased: World) -> None:
    """R-5: the later word counts."""
    edek = (await wrap(leased)).json()["edek"]
    leased.plane.leases.wipe()
    kms = leased.kms().adapter
    kms.hold.clear()
    waiting = asyncio.create_task(unwrap(leased, edek))
    while "unwrap" not in kms.calls[2:]:  # noqa: ASYNC110  a list filled by another thread
        await asyncio.sleep(0.01)
    leased.plane.leases.refuse("a", 11, KmsRefused())
    kms.hold.set()
    assert (await waiting).json()["code"] == 206
    assert list(leased.plane.leases.all()) == []


async def test_a_wiped_key_is_gone_from_memory(leased: World) -> None:
    """T-20: no byte of the LEK is left in its page."""
    await wrap(leased)
    lease = only(leased)
    view = lease.lek.view()
    assert bytes(view) != bytes(32)
    leased.plane.leases.refuse("a", 11, KmsRefused())
    assert bytes(view) == bytes(32)


async def test_waiters_are_answered_after_ten_seconds_at_most(leased: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-28, with the ten seconds made short."""
    monkeypatch.setattr("tsp.leases.cache.WAIT_SECONDS", 0.1)
    leased.kms().adapter.hold.clear()
    answers = await asyncio.gather(*(wrap(leased) for _ in range(50)))
    assert {answer.json()["code"] for answer in answers} == {208}
    assert leased.kms().adapter.calls == ["wrap"]
    leased.kms().adapter.hold.set()


async def test_many_tenants_after_a_restart_make_few_calls_at_a_time(tmp_path: Path) -> None:
    """R-28: at most 20 key service calls for leases are in flight."""
    kms = FaultyKms()
    kms.seconds = 0.01
    names = [f"t{number}" for number in range(200)]
    tenants = Tenants(*(FakeTenant(name, [FakeKms(at + 1, kms, Leasing(True))]) for at, name in enumerate(names)))
    made = world(tmp_path, tenants=tenants)
    answers = await asyncio.gather(*(wrap(made, name) for name in names))
    assert {answer.status for answer in answers} == {200}
    assert 1 < kms.most <= 20
    made.plane.close()
