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
    KmsUnreachable,
    KmsWrapFailed,
)
from encrypted_fields.core.memory import SecretBytes
from tests.tsp.doubles import FakeKms, FakeTenant, FaultyKms, Tenants, World, call, request, world
from tsp.contract import events
from tsp.contract.tenant import Leasing
from tsp.leases.agreement import FileAgreement
from tsp.leases.lease import EPOCH_SECONDS, Lease, Moment, epoch, life, next_renewal, next_retry

HOUR = 3600.0


async def wrap(made: World, tenant: str = "a") -> Any:
    return await call(made.plane.app, "document/wrap", request(tenant))


async def unwrap(made: World, edek: str, tenant: str = "a") -> Any:
    return await call(made.plane.app, "document/unwrap", request(tenant, encryptedDocumentKey=edek))


async def tick(made: World) -> None:
    """One round in the background, and all that it started."""
    await made.plane.renewal.tick()
    await made.plane.renewal.settled()
    await made.plane.leases.journal.drained()


def only(made: World) -> Lease:
    [(_, lease)] = made.plane.leases.all()
    return lease


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


async def test_renewals_are_real_unwraps_in_the_background(leased: World) -> None:
    """House decision 5: every 300 s ± 10 %, and no request waits for one."""
    await wrap(leased)
    kms = leased.kms().adapter
    kms.calls.clear()
    leased.clock.advance(269)
    await wrap(leased)
    await tick(leased)
    assert kms.calls == []
    leased.clock.advance(62)
    await wrap(leased)
    assert kms.calls == []
    await tick(leased)
    assert kms.calls == ["unwrap"]
    [event] = leased.trail.of(events.LEASE_RENEWED)
    assert (event.tenant, event.config, event.leased, event.outcome) == ("a", 11, True, "success")


async def test_a_key_is_held_for_an_hour_while_nobody_answers(leased: World) -> None:
    """R-2: all requests succeed for 3,600 s after the start of the last proof, none after; the bytes go with it."""
    edek = (await wrap(leased)).json()["edek"]
    lease, kms = only(leased), leased.kms().adapter
    kms.failure = KmsUnreachable()
    for _ in range(360):
        leased.clock.advance(10)
        assert (await unwrap(leased, edek)).status == 200
        await tick(leased)
    tries = len(kms.calls)
    assert tries >= 60
    leased.clock.advance(1)
    assert lease.usable(leased.plane.leases.now()) is False
    assert (await unwrap(leased, edek)).json()["code"] == 208
    await tick(leased)
    assert lease.lek.wiped
    assert len(leased.trail.of(events.LEASE_EXPIRED)) == 1
    kms.failure = None
    assert (await unwrap(leased, edek)).status == 200


async def test_an_answer_within_the_hour_starts_a_new_one(leased: World) -> None:
    await wrap(leased)
    leased.kms().adapter.failure = KmsUnreachable()
    for _ in range(300):
        leased.clock.advance(10)
        await wrap(leased)
        await tick(leased)
    leased.kms().adapter.failure = None
    leased.clock.advance(61)
    await tick(leased)
    leased.clock.advance(HOUR - 100)
    assert only(leased).usable(leased.plane.leases.now())


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


@pytest.mark.parametrize("jump", [HOUR, 86_400, -HOUR, -86_400])
async def test_a_jump_of_the_wall_clock_never_makes_a_key_live_longer(leased: World, jump: float) -> None:
    """R-26."""
    await wrap(leased)
    lease = only(leased)
    leased.clock.set_wall(jump)
    leased.clock.advance(0.001)
    assert lease.usable(leased.plane.leases.now()) is (jump < 0)
    leased.clock.advance(HOUR)
    assert lease.usable(leased.plane.leases.now()) is False


async def test_time_asleep_counts(leased: World) -> None:
    """R-26: the boot clock goes on while the machine is suspended, even if the wall clock is put back after it."""
    await wrap(leased)
    leased.clock.advance(2 * HOUR)
    leased.clock.set_wall(-2 * HOUR)
    assert only(leased).usable(leased.plane.leases.now()) is False


async def test_an_idle_key_is_wiped_instead_of_renewed(leased: World) -> None:
    await wrap(leased)
    lease, kms = only(leased), leased.kms().adapter
    kms.calls.clear()
    leased.clock.advance(331)
    await tick(leased)
    assert (lease.lek.wiped, kms.calls) == (True, [])
    assert leased.trail.of(events.LEASE_EXPIRED) == []
    assert (await wrap(leased)).status == 200
    assert kms.calls == ["unwrap"]


@pytest.mark.parametrize(("hold", "allowed"), [(0, 300), (60, 300), (600, 600), (3600, 3600)])
def test_a_tenants_policy_shortens_the_hold(hold: int, allowed: int) -> None:
    assert life(Leasing(True, 300, hold)) == allowed


@pytest.mark.parametrize(
    "leasing", [Leasing(True), Leasing(True, 300, 0), Leasing(True, 30, 0), Leasing(True, 30, 3600)]
)
def test_a_renewal_is_due_before_the_key_ends(leasing: Leasing) -> None:
    due = [next_renewal(leasing) for _ in range(1000)]
    assert max(due) <= min(leasing.renew * 1.1, life(leasing) * 0.8)
    assert max(due) - min(due) > leasing.renew * 0.05  # jittered


def test_retries_keep_within_a_minute_and_sixty_an_hour() -> None:
    """R-2."""
    for failures in range(1, 400):
        assert all(0 < next_retry(failures) <= 60 for _ in range(50))
    assert sum(next_retry(99) for _ in range(10_000)) / 10_000 < 35


async def test_with_hold_zero_a_key_ends_with_its_proof(tmp_path: Path) -> None:
    made = world(tmp_path, leasing=Leasing(True, 300, 0))
    edek = (await wrap(made)).json()["edek"]
    made.kms().adapter.failure = KmsUnreachable()
    made.clock.advance(300)
    assert (await unwrap(made, edek)).status == 200
    made.clock.advance(0.1)
    assert (await unwrap(made, edek)).json()["code"] == 208
    made.plane.close()


async def test_a_policy_that_gets_shorter_binds_the_leases_that_exist(leased: World) -> None:
    await wrap(leased)
    lease = only(leased)
    leased.clock.advance(400)
    leased.kms().leasing = Leasing(True, 300, 0)
    await tick(leased)
    assert lease.lek.wiped


async def test_a_configuration_that_is_switched_off_loses_its_keys(leased: World) -> None:
    await wrap(leased)
    lease = only(leased)
    leased.tenants.by_name["a"].kms.clear()
    await tick(leased)
    assert lease.lek.wiped


async def test_a_new_version_of_the_configuration_proves_the_keys_anew(leased: World) -> None:
    edek = (await wrap(leased)).json()["edek"]
    lease, kms = only(leased), leased.kms()
    kms.version = 2
    kms.adapter = FaultyKms()  # another key at the key service: what the old one wrapped does not open
    await tick(leased)
    assert lease.lek.wiped
    assert (await unwrap(leased, edek)).json()["code"] == 205
    assert (await wrap(leased)).status == 200


async def test_each_epoch_has_its_own_key_and_the_old_ones_go_on(leased: World) -> None:
    first = (await wrap(leased)).json()
    digest = only(leased).digest
    leased.clock.advance(EPOCH_SECONDS)
    second = (await wrap(leased)).json()
    assert (await unwrap(leased, first["edek"])).json() == {"dek": first["dek"]}
    assert (await unwrap(leased, second["edek"])).json() == {"dek": second["dek"]}
    active = leased.plane.leases.state("a", 11).active
    assert active is not None
    assert active.digest != digest


def test_epochs_are_thirty_days_and_turn_over_at_different_times() -> None:
    ends = {epoch(f"acme:tenant-{number}:1:1", 1_800_000_000.0)[1] for number in range(100)}
    assert len(ends) == 100
    assert all(0 < end - 1_800_000_000 <= EPOCH_SECONDS for end in ends)
    number, end = epoch("acme:a:1:1", 1_800_000_000.0)
    assert epoch("acme:a:1:1", end)[0] == number + 1
    assert epoch("acme:a:1:1", end - 1)[0] == number


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


def test_an_older_proof_changes_nothing() -> None:
    lease = Lease("acme", "a", 1, b"\x01\x01" + bytes(40), SecretBytes(32), Leasing(True))
    lease.proved(Moment(100.0, 1000.0))
    lease.proved(Moment(50.0, 2000.0))
    assert lease.proof == Moment(100.0, 1000.0)


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
