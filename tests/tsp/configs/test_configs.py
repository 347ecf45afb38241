"""Sealed records come into service only when all is right, and the last good one stays otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import KmsConfigDisabled, KmsRefused, NoPrimaryKms, UnknownTenant
from tests.support import canary
from tests.support.people import NORTH, SOUTH, VENDOR, document, key_id, sealed_record
from tests.tsp.configs.conftest import World, chain, works
from tsp.configs import Configs
from tsp.contract.sealed import Record
from tsp.contract.tenant import KmsBody, SiemBody
from tsp.egress import Egress
from tsp.kms import ADAPTERS
from tsp.kms.local import LocalKms, set_enabled


async def test_a_sealed_key_comes_into_service(world: World) -> None:
    configs = world.restart()
    assert not configs.ready
    world.feed.records = [sealed_record(document(key_file=world.key_file()), "first", "second", sequence=1)]

    await configs.refresh()

    assert configs.ready
    assert configs.tenants() == [NORTH]
    assert works(configs.tenant(NORTH))
    assert configs.tenant(NORTH).kms_for(1).version == 1
    assert world.mail.actions() == [("config.first_seen", "")]
    assert [(one.tenant, one.config, one.version, one.state, one.reason) for one in world.feed.results] == [
        (NORTH, 1, 1, "active", "")
    ]


async def test_an_unknown_tenant_has_nothing(world: World) -> None:
    with pytest.raises(UnknownTenant):
        world.restart().tenant(SOUTH)


async def test_starts_with_the_last_good_ones_when_the_broker_is_down(world: World) -> None:
    """R-13."""
    first = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()), sequence=7)]
    world.feed.disabled = [99]
    await first.refresh()
    world.feed.down = True

    configs = world.restart()
    await configs.refresh()

    assert configs.ready
    assert not configs.complete
    assert configs.pause > 0
    assert works(configs.tenant(NORTH))


async def test_goes_on_from_where_it_was_after_a_restart(world: World) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()), sequence=7)]
    await configs.refresh()

    await world.restart().refresh()

    assert world.feed.asked == [0, 7]


async def test_reads_the_whole_feed_again_when_a_kept_record_is_damaged(world: World) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()), sequence=7)]
    await configs.refresh()
    for path in (world.folder / "state" / "sealed").glob("*.json"):
        path.write_bytes(path.read_bytes()[:40])

    again = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()), sequence=7)]
    await again.refresh()

    assert world.feed.asked == [0, 0]


async def test_one_malformed_record_does_not_keep_the_others_out(world: World) -> None:
    """R-14: 199 of 200 load."""
    configs = world.restart()
    good = [sealed_record(document(f"t{at}", at, key_file=world.key_file()), sequence=at) for at in range(1, 200)]
    world.feed.records = [*good[:100], Record("bad", 500, "kms", 1, {key_id(): b"\0" * 90}), *good[100:]]

    await configs.refresh()

    assert len(configs.tenants()) == 199
    assert [one.reason for one in world.feed.results if one.state == "refused"] == ["cannot_open"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (KmsBody("local", {}), "bad_options"),
        (KmsBody("local", {"key_file": 1}), "bad_options"),
        (KmsBody("abacus", {}), "unknown_provider"),
        (KmsBody("local", {"key_file": "/nowhere/key"}), "kms_refused"),
    ],
)
async def test_a_bad_new_version_leaves_the_old_one_in_service(world: World, body: KmsBody, reason: str) -> None:
    """R-32."""
    configs = world.restart()
    [record] = chain(world, 1)
    world.feed.records = [record]
    await configs.refresh()
    world.feed.records = [sealed_record(document(body=body, version=2, previous=record.hash))]

    await configs.refresh()

    assert works(configs.tenant(NORTH))
    assert configs.tenant(NORTH).primary().version == 1
    assert world.mail.actions()[1:] == [("config.refused", reason)]
    assert [(one.version, one.state, one.reason) for one in world.feed.results][1:] == [(2, "refused", reason)]


async def test_the_local_key_service_needs_to_be_allowed(world: World) -> None:
    configs = world.restart(allow_local=False)
    world.feed.records = chain(world, 1)

    await configs.refresh()

    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "local_not_allowed")]


class _Flaky(LocalKms):
    """A key service with a `fault`: "unreachable", "wrong key", "no tamper check"."""

    fault = ""
    _seen = b""

    def _wrap(self, key: Any, context: KeyContext) -> bytes:
        if self.fault == "unreachable":
            raise OSError
        self._seen = bytes(key)
        return super()._wrap(key, context)

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        if self.fault == "wrong key":
            return bytes(32)
        return self._seen if self.fault == "no tamper check" else super()._unwrap(blob, context)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[_Flaky]:
    """The provider "flaky"."""
    monkeypatch.setitem(ADAPTERS, "flaky", f"{__name__}._Flaky")
    monkeypatch.setattr(_Flaky, "fault", "")
    return _Flaky


async def test_an_unreachable_key_service_is_tried_again_and_then_serves(world: World, flaky: type[_Flaky]) -> None:
    """R-32: kept aside, over a restart too, and taken as soon as it answers; the refusal is said once."""
    flaky.fault = "unreachable"
    configs = world.restart()
    body = KmsBody("flaky", {"key_file": str(world.key_file())})
    world.feed.records = [sealed_record(document(body=body))]
    await configs.refresh()
    await configs.refresh()
    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "kms_unreachable")]

    again = world.restart()
    flaky.fault = ""
    await again.refresh()

    assert works(again.tenant(NORTH))
    assert world.feed.results[-1].state == "active"
    assert not list((world.folder / "state" / "waiting").iterdir())


@pytest.mark.parametrize("fault", ["wrong key", "no tamper check"])
async def test_a_key_service_that_fails_its_trial_does_not_come_into_service(
    world: World, flaky: type[_Flaky], fault: str
) -> None:
    """R-32: it must give back the same key, and notice a changed blob and another tenant's context."""
    flaky.fault = fault
    configs = world.restart()
    world.feed.records = [sealed_record(document(body=KmsBody("flaky", {"key_file": str(world.key_file())})))]

    await configs.refresh()

    assert world.mail.actions() == [("config.refused", "self_test_failed")]


async def test_switching_off_and_on_at_the_broker(world: World) -> None:
    configs = world.restart()
    world.feed.records = [
        sealed_record(document(config=1, key_file=world.key_file())),
        sealed_record(document(config=2, key_file=world.key_file(), created="2026-02-01T00:00:00Z")),
    ]
    await configs.refresh()
    assert configs.tenant(NORTH).primary().config == 2

    world.feed.disabled = [2]
    await configs.refresh()
    assert configs.tenant(NORTH).primary().config == 1
    with pytest.raises(KmsConfigDisabled):
        configs.tenant(NORTH).kms_for(2)

    world.feed.disabled = [1, 2]
    await configs.refresh()
    with pytest.raises(NoPrimaryKms):
        configs.tenant(NORTH).primary()

    world.feed.disabled = []
    await configs.refresh()
    assert configs.tenant(NORTH).kms_for(2).config == 2


async def test_what_is_switched_off_stays_off_after_a_restart_without_the_broker(world: World) -> None:
    configs = world.restart()
    world.feed.records, world.feed.disabled = chain(world, 1), [1]
    await configs.refresh()
    world.feed.down = True

    again = world.restart()
    await again.refresh()

    with pytest.raises(NoPrimaryKms):
        again.tenant(NORTH).primary()


async def test_a_siem_that_cannot_be_told_stays_on_until_it_can(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-6: neither a new version nor the broker's switch silences a SIEM while the trail is full."""
    monkeypatch.setattr("tsp.siem.webhook.SignedWebhook.send", lambda sink, events: None)
    body = SiemBody("webhook", {"url": "https://siem.example", "secret": "whsec_" + "A" * 32})
    first = sealed_record(document(config=5, body=body))
    configs = world.restart()
    world.feed.records = [first]
    await configs.refresh()

    world.mail.full = True
    world.feed.disabled = [5]
    world.feed.records = [sealed_record(document(config=5, body=body, version=2, previous=first.hash))]
    await configs.refresh()
    siem = configs.tenant(NORTH).siem
    assert siem is not None
    assert siem.version == 1
    assert world.feed.results[-1].reason == "audit_unavailable"

    world.mail.full = False
    await configs.refresh()
    assert configs.tenant(NORTH).siem is None
    assert next(queue for queue, event in world.mail.sent if event.action == "siem.changed") == "north~5~1"


async def test_nothing_readable_lies_on_the_disk(world: World) -> None:
    """R-13: only ciphertext is kept."""
    secret = canary.plant("a credential in a sealed configuration")
    path = world.folder / secret
    world.key_file(secret)
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=path))]

    await configs.refresh()

    files = [file for file in (world.folder / "state").rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if canary.leaks_in_bytes(file.read_bytes())]
    assert not canary.leaks(repr(vars(configs.tenant(NORTH).primary())))


async def test_a_disk_that_cannot_be_written_keeps_the_old_version(world: World, monkeypatch: Any) -> None:
    configs = world.restart()
    first, second = chain(world, 2)
    world.feed.records = [first]
    await configs.refresh()
    journal = world.folder / "state" / "marks.jsonl"
    journal.unlink()
    journal.mkdir()
    world.feed.records = [second]
    await configs.refresh()
    assert configs.tenant(NORTH).primary().version == 1
    assert world.mail.actions()[-1] == ("config.refused", "state_not_writable")

    journal.rmdir()
    await configs.refresh()

    assert configs.tenant(NORTH).primary().version == 2


async def test_fixed_configurations_serve_at_once(tmp_path: Path, world: World) -> None:
    configs = Configs.fixed(
        VENDOR,
        [document(key_file=world.key_file()), document(SOUTH, 2, key_file=world.key_file(), leased=True)],
        Egress(),
    )

    await configs.refresh()

    assert sorted(configs.tenants()) == [NORTH, SOUTH]
    assert works(configs.tenant(NORTH))
    assert configs.tenant(SOUTH).primary().leasing.enabled
    assert configs.sink_for(NORTH) is None


async def test_a_revoked_key_is_revoked_for_the_adapter_in_service(world: World) -> None:
    configs = Configs.fixed(VENDOR, [document(key_file=world.key_file())], Egress())
    set_enabled(world.key_file(), False)

    with pytest.raises(KmsRefused):
        works(configs.tenant(NORTH))


async def test_a_key_without_leasing_is_refused_where_the_vendor_requires_it(world: World) -> None:
    """What serves goes on; a leased one is taken; who is not asked for it stays free."""
    configs = world.restart()
    first = sealed_record(document(key_file=world.key_file()), sequence=1)
    other = sealed_record(document(SOUTH, 2, key_file=world.key_file()), sequence=2)
    world.feed.records = [first, other]
    await configs.refresh()
    world.feed.leasing_required = frozenset([NORTH])
    direct = document(key_file=world.key_file(), version=2, previous=first.hash)
    other_direct = document(SOUTH, 2, key_file=world.key_file(), version=2, previous=other.hash)
    world.feed.records = [sealed_record(direct, sequence=3), sealed_record(other_direct, sequence=4)]
    await configs.refresh()

    assert ("config.refused", "leasing_required") in world.mail.actions()
    assert configs.tenant(NORTH).kms_for(1).version == 1
    assert configs.tenant(SOUTH).kms_for(2).version == 2
    leased = document(key_file=world.key_file(), version=2, previous=first.hash, leased=True)
    world.feed.records = [sealed_record(leased, sequence=5)]
    await configs.refresh()
    assert configs.tenant(NORTH).kms_for(1).version == 2
    assert configs.tenant(NORTH).kms_for(1).leasing.enabled
