"""How long a leased key lives: renewals, the hold, both clocks, idleness, policies, versions and epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from encrypted_fields.core.errors import (
    KmsUnreachable,
)
from encrypted_fields.core.memory import SecretBytes
from tests.tsp.doubles import FaultyKms, World, world
from tests.tsp.lease_steps import only, tick, unwrap, wrap
from tsp.contract import events
from tsp.contract.tenant import Leasing
from tsp.leases.lease import EPOCH_SECONDS, Lease, Moment, epoch, life, next_renewal, next_retry

HOUR = 3600.0


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
    for _ in range(12):
        leased.clock.advance(299)
        await tick(leased)
    assert kms.calls
    assert not lease.lek.wiped  # a tenant that reads once in an hour has its hour, too
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


def test_an_older_proof_changes_nothing() -> None:
    lease = Lease("acme", "a", 1, b"\x01\x01" + bytes(40), SecretBytes(32), Leasing(True))
    lease.proved(Moment(100.0, 1000.0))
    lease.proved(Moment(50.0, 2000.0))
    assert lease.proof == Moment(100.0, 1000.0)


async def test_a_new_version_proves_every_lease_of_the_key(leased: World, tmp_path: Path) -> None:
    """Also those of EDEKs that another proxy made."""
    other = world(tmp_path / "other", tenants=leased.tenants)
    foreign = (await wrap(other)).json()["edek"]
    await wrap(leased)
    await unwrap(leased, foreign)
    await tick(leased)
    held = [lease for _, lease in leased.plane.leases.all()]
    leased.kms().version = 2
    leased.kms().adapter = FaultyKms()
    await tick(leased)
    assert [lease.lek.wiped for lease in held] == [True, True]
    other.plane.close()
