"""Sealed records come into service only when all is right, and the last good one stays otherwise."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import KmsConfigDisabled, KmsRefused, NoPrimaryKms, UnknownTenant
from tests.support import canary
from tests.support.people import NORTH, SOUTH, VENDOR, document, key_id, sealed_record
from tests.tsp.configs.conftest import World
from tsp.configs import Configs, SharedMarks, Tenant
from tsp.configs.admission import Mark
from tsp.contract.sealed import Record
from tsp.contract.tenant import KmsBody, SiemBody
from tsp.egress import Egress
from tsp.kms.local import LocalKms, set_enabled


def _chain(world: World, count: int, name: str = NORTH, config: int = 1) -> list[Record]:
    """Versions 1 to `count`, each with the hash of the one before."""
    records: list[Record] = []
    for version in range(1, count + 1):
        previous = records[-1].hash if records else ""
        made = document(name, config, key_file=world.key_file(), version=version, previous=previous)
        records.append(sealed_record(made, sequence=version))
    return records


def _works(tenant: Tenant) -> bool:
    kms, context = tenant.primary(), KeyContext(VENDOR, tenant.name, tenant.primary().config, "dek")
    key = bytes(range(32))
    return bytes(kms.adapter.unwrap(kms.adapter.wrap(key, context), context)) == key


async def test_a_sealed_key_comes_into_service(world: World) -> None:
    configs = world.restart()
    assert not configs.ready
    world.feed.records = [sealed_record(document(key_file=world.key_file()), "first", "second", sequence=1)]

    await configs.refresh()

    assert configs.ready
    assert configs.tenants() == [NORTH]
    assert _works(configs.tenant(NORTH))
    assert configs.tenant(NORTH).kms_for(1).version == 1
    assert world.mail.actions() == [("config.first_seen", "")]
    assert [(one.tenant, one.config, one.version, one.state, one.reason) for one in world.feed.results] == [
        (NORTH, 1, 1, "active", "")
    ]


async def test_an_unknown_tenant_has_nothing(world: World) -> None:
    with pytest.raises(UnknownTenant):
        world.restart().tenant(SOUTH)


async def test_refuses_every_swap_of_records_between_tenants_and_kinds(world: World) -> None:
    """T-4: all n² swaps between 5 tenants and 2 kinds are refused, with an event that says why."""
    configs = world.restart()
    owners = [(f"tenant-{at}", kind, 10 * at + n) for at in range(5) for n, kind in enumerate(("kms", "siem"), 1)]
    body = {"kms": None, "siem": SiemBody("webhook", {"url": "https://siem.example", "secret": "x"})}
    honest = {
        owner: sealed_record(document(owner[0], owner[2], body=body[owner[1]], key_file=world.key_file()))
        for owner in owners
    }
    swaps = [
        Record(tenant=to[0], config=to[2], kind=to[1], version=1, boxes=honest[whose].boxes)  # type: ignore[arg-type]
        for whose, to in itertools.permutations(owners, 2)
    ]

    for swap in swaps:
        world.feed.records.append(swap)
        await configs.refresh()

    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "config_binding_mismatch")] * len(swaps)
    assert len(swaps) == 90


@pytest.mark.parametrize(
    "outside", [{"tenant": SOUTH}, {"config": 2}, {"version": 2}], ids=["tenant", "configuration", "version"]
)
async def test_refuses_what_the_broker_relabelled(world: World, outside: dict[str, Any]) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()), **outside)]

    await configs.refresh()

    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "config_binding_mismatch")]


async def test_refuses_another_vendors_document(world: World) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file(), vendor="evil"))]

    await configs.refresh()

    assert world.mail.actions() == [("config.refused", "config_binding_mismatch")]


async def test_refuses_a_copy_that_was_made_for_another_of_our_keys(world: World) -> None:
    """A copy says which key it is for; the broker cannot reseal, but it must not be able to shuffle copies either."""
    record = sealed_record(document(key_file=world.key_file()), "first")
    other = sealed_record(document(key_file=world.key_file(), key="first"), "second")
    configs = world.restart()
    world.feed.records = [
        Record(NORTH, 1, "kms", 1, {key_id("first"): other.boxes[key_id("second")]}),
        Record(SOUTH, 1, "kms", 1, {key_id("second"): record.boxes[key_id("first")]}),
    ]

    await configs.refresh()

    assert world.mail.actions() == [("config.refused", "cannot_open")] * 2


async def test_refuses_every_replayed_version(world: World) -> None:
    """T-5: n versions in service, v1 to v(n-1) played again: n-1 refusals, and the last one goes on."""
    configs = world.restart()
    records = _chain(world, 6)
    for record in records:
        world.feed.records = [record]
        await configs.refresh()
    world.mail.sent.clear()

    for record in records[:-1]:
        world.feed.records = [record]
        await configs.refresh()

    assert world.mail.actions() == [("config.refused", "replayed")] * 5
    assert configs.tenant(NORTH).primary().version == 6
    assert _works(configs.tenant(NORTH))


async def test_refuses_another_record_under_an_accepted_version(world: World) -> None:
    configs = world.restart()
    world.feed.records = [sealed_record(document(key_file=world.key_file()))]
    await configs.refresh()
    world.feed.records = [sealed_record(document(key_file=world.key_file("other")))]

    await configs.refresh()

    assert world.mail.actions()[1:] == [("config.refused", "replayed")]


async def test_refuses_a_version_that_does_not_follow_the_accepted_one(world: World) -> None:
    configs = world.restart()
    world.feed.records = _chain(world, 1)
    await configs.refresh()
    world.feed.records = [sealed_record(document(key_file=world.key_file(), version=2, previous="0" * 64))]

    await configs.refresh()

    assert world.mail.actions()[1:] == [("config.refused", "broken_chain")]
    assert configs.tenant(NORTH).primary().version == 1


async def test_several_versions_at_once_are_followed_to_the_newest(world: World) -> None:
    configs = world.restart()
    first, *others = _chain(world, 4)
    world.feed.records = [first]
    await configs.refresh()
    world.feed.records = others

    await configs.refresh()

    assert configs.tenant(NORTH).primary().version == 4


@pytest.mark.parametrize("wiped", ["disk", "redis", "nothing"])
async def test_refuses_a_replay_when_one_of_the_two_stores_is_wiped(world: World, redis_url: str, wiped: str) -> None:
    """T-5: the marks are on disk and in Redis; an attacker who empties one of them gains nothing."""
    from redis.asyncio import Redis

    redis = Redis.from_url(redis_url)
    configs = world.restart(shared=SharedMarks(redis, VENDOR))
    records = _chain(world, 3)
    for record in records:
        world.feed.records = [record]
        await configs.refresh()

    if wiped == "disk":
        shutil.rmtree(world.folder / "state")
    elif wiped == "redis":
        await redis.flushall()
    world.feed.down = wiped != "disk"
    again = world.restart()
    await again.refresh()
    world.feed.down = False
    world.mail.sent.clear()
    for _ in range(3):  # what only Redis knows is believed at the second look
        world.feed.records = records[:2]
        await again.refresh()
        world.feed.records = []
        await again.refresh()

    assert ("config.refused", "replayed") in world.mail.actions()
    assert not {action for action, _ in world.mail.actions()} & {"config.accepted", "config.first_seen"}
    assert wiped == "disk" or again.tenant(NORTH).primary().version == 3
    assert wiped != "disk" or again.tenants() == []
    await redis.aclose()


async def test_what_another_proxy_accepted_is_not_tried_out_again(world: World, redis_url: str) -> None:
    from redis.asyncio import Redis

    redis = Redis.from_url(redis_url)
    record = _chain(world, 1)[0]
    await SharedMarks(redis, VENDOR).put({(NORTH, "kms", 1): Mark(1, record.hash)})
    set_enabled(world.key_file(), False)  # a trial would be refused
    configs = world.restart(shared=SharedMarks(redis, VENDOR))
    world.feed.records = [record]

    await configs.refresh()

    assert configs.tenant(NORTH).primary().version == 1
    await redis.aclose()


async def test_a_redis_that_is_down_does_not_keep_a_configuration_out(world: World) -> None:
    from tests.support.processes import free_port
    from tsp.audit.stream import connect

    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    configs = world.restart(shared=SharedMarks(redis, VENDOR))
    world.feed.records = _chain(world, 1)

    await configs.refresh()

    assert _works(configs.tenant(NORTH))
    await redis.aclose()


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
    assert _works(configs.tenant(NORTH))


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
    [record] = _chain(world, 1)
    world.feed.records = [record]
    await configs.refresh()
    world.feed.records = [sealed_record(document(body=body, version=2, previous=record.hash))]

    await configs.refresh()

    assert _works(configs.tenant(NORTH))
    assert configs.tenant(NORTH).primary().version == 1
    assert world.mail.actions()[1:] == [("config.refused", reason)]
    assert [(one.version, one.state, one.reason) for one in world.feed.results][1:] == [(2, "refused", reason)]


async def test_the_local_key_service_needs_to_be_allowed(world: World) -> None:
    configs = world.restart(allow_local=False)
    world.feed.records = _chain(world, 1)

    await configs.refresh()

    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "local_not_allowed")]


class _Flaky(LocalKms):
    """A key service that the test can break: "unreachable", "no tamper check", "wrong key"."""

    fault = ""

    def _wrap(self, key: Any, context: KeyContext) -> bytes:
        if self.fault == "unreachable":
            raise OSError
        return super()._wrap(key, context)

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        if self.fault == "wrong key":
            return bytes(32)
        if self.fault == "no tamper check":
            return self._seen
        return super()._unwrap(blob, context)

    def wrapped(self, key: bytes) -> None:
        self._seen = key


async def test_an_unreachable_key_service_is_tried_again_and_then_serves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-32: kept aside, over a restart too, and taken as soon as it answers; the refusal is said once."""
    monkeypatch.setattr(_Flaky, "fault", "unreachable")
    monkeypatch.setitem(__import__("tsp.kms", fromlist=["ADAPTERS"]).ADAPTERS, "flaky", f"{__name__}._Flaky")
    configs = world.restart()
    body = KmsBody("flaky", {"key_file": str(world.key_file())})
    world.feed.records = [sealed_record(document(body=body))]
    await configs.refresh()
    await configs.refresh()
    assert configs.tenants() == []
    assert world.mail.actions() == [("config.refused", "kms_unreachable")]

    again = world.restart()
    monkeypatch.setattr(_Flaky, "fault", "")
    await again.refresh()

    assert _works(again.tenant(NORTH))
    assert world.feed.results[-1].state == "active"
    assert not list((world.folder / "state" / "waiting").iterdir())


async def test_a_key_service_that_returns_another_key_does_not_come_into_service(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Flaky, "fault", "wrong key")
    monkeypatch.setitem(__import__("tsp.kms", fromlist=["ADAPTERS"]).ADAPTERS, "flaky2", f"{__name__}._Flaky")
    configs = world.restart()
    world.feed.records = [sealed_record(document(body=KmsBody("flaky2", {"key_file": str(world.key_file())})))]

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
    world.feed.records, world.feed.disabled = _chain(world, 1), [1]
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
    first, second = _chain(world, 2)
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
    assert _works(configs.tenant(NORTH))
    assert configs.tenant(SOUTH).primary().leasing.enabled
    assert configs.sink_for(NORTH) is None


async def test_a_revoked_key_is_revoked_for_the_adapter_in_service(world: World) -> None:
    configs = Configs.fixed(VENDOR, [document(key_file=world.key_file())], Egress())
    set_enabled(world.key_file(), False)

    with pytest.raises(KmsRefused):
        _works(configs.tenant(NORTH))
