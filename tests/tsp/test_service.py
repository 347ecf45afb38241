"""Who gets which key, and what the audit trail learns before a key leaves."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from msgspec.structs import replace

from encrypted_fields.core.errors import KmsRefused, KmsUnreachable
from encrypted_fields.core.protobuf import fields
from tests.tsp.doubles import FakeKms, World, call, request
from tsp import edek
from tsp.contract import events
from tsp.contract.events import AuditEvent


@pytest.fixture(params=["direct", "leased"])
def either(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made


async def wrap(world: World, tenant: str = "a") -> dict[str, str]:
    answer = await call(world.plane.app, "document/wrap", request(tenant))
    assert answer.status == 200
    made: dict[str, str] = answer.json()
    return made


async def unwrap(world: World, edek: str, tenant: str = "a") -> Any:
    return await call(world.plane.app, "document/unwrap", request(tenant, encryptedDocumentKey=edek))


async def test_refuses_another_tenant(either: World) -> None:
    made = await wrap(either, "a")
    answer = await unwrap(either, made["edek"], "b")
    assert answer.json()["code"] == 202
    assert "is not assigned to tenant" in answer.json()["message"]


async def test_refuses_an_edek_moved_to_another_configuration(either: World) -> None:
    """T-18: the number in the protobuf is changed to one that is the other tenant's own."""
    made = await wrap(either, "a")
    moved = base64.b64decode(made["edek"]).replace(b"\x10\x0b", b"\x10\x16")
    answer = await unwrap(either, base64.b64encode(moved).decode(), "b")
    assert answer.json()["code"] == 205


async def test_every_flipped_bit_of_an_edek_is_refused(either: World) -> None:
    """T-19: over the wire, through the key service or the lease; never a key, never a 500."""
    made = base64.b64decode((await wrap(either))["edek"])
    for bit in range(0, len(made) * 8, 3):
        changed = bytearray(made)
        changed[bit // 8] ^= 1 << bit % 8
        answer = await unwrap(either, base64.b64encode(changed).decode())
        assert answer.json().get("code") in (202, 203, 205), bit
    assert (await unwrap(either, base64.b64encode(made).decode())).status == 200


async def test_the_edek_carries_the_number_of_its_configuration(either: World) -> None:
    """Rule 4: 0 would encrypt and never decrypt."""
    [(number, element)] = fields(base64.b64decode((await wrap(either))["edek"]))
    assert isinstance(element, bytes)
    assert (number, dict(fields(element))[2]) == (1, 11)


async def test_an_event_is_durable_before_the_key_leaves(either: World) -> None:
    either.trail.full = True
    answer = await call(either.plane.app, "document/wrap", request())
    assert (answer.status, answer.json()["code"]) == (503, 100)
    either.trail.full = False
    made = await wrap(either)
    either.trail.full = True
    for route, more in (
        ("document/unwrap", {"encryptedDocumentKey": made["edek"]}),
        ("document/batch-wrap", {"documentIds": ["1"]}),
        ("document/batch-unwrap", {"edeks": {"1": made["edek"]}}),
        ("document/rekey", {"encryptedDocumentKey": made["edek"], "newTenantId": "b"}),
        ("key/derive-with-secret-path", {"paths": {"p": ["q"]}, "derivationType": "sha512", "secretType": "vector"}),
    ):
        answer = await call(either.plane.app, route, request(**more))
        assert (answer.status, answer.json()["code"]) == (503, 100), route
        assert set(answer.json()) == {"code", "message"}


async def test_success_and_refusal_make_an_event_with_the_metadata(direct: World) -> None:
    body = request(
        iclFields={
            "requestingId": "user-1", "dataLabel": "PII", "sourceIp": "10.1.2.3", "objectId": "o-9", "requestId": "r-7",
        },
        customFields={"k": "v"},
    )  # fmt: skip
    await call(direct.plane.app, "document/wrap", body)
    direct.kms().adapter.failure = KmsRefused()
    await call(direct.plane.app, "document/wrap", body)
    done, refused = direct.trail.of(events.WRAP)
    for one in (done, refused):
        said = (one.vendor, one.tenant, one.requesting_id, one.data_label, one.source_ip, one.object_id, one.request_id)
        assert said == ("acme", "a", "user-1", "PII", "10.1.2.3", "o-9", "r-7")
        assert (one.custom, one.tsp) == ({"k": "v"}, "tsp-1")
    assert (done.outcome, done.code, done.config, len(done.edek)) == ("success", 0, 11, 16)
    assert (refused.outcome, refused.code, refused.edek) == ("refused", 206, "")
    assert done.id != refused.id


async def test_wrap_and_unwrap_of_one_key_show_the_same_fingerprint(either: World) -> None:
    await unwrap(either, (await wrap(either))["edek"])
    assert either.trail.of(events.WRAP)[0].edek == either.trail.of(events.UNWRAP)[0].edek


async def test_a_batch_makes_one_event_an_id(either: World) -> None:
    made = await call(either.plane.app, "document/batch-wrap", request(documentIds=["x", "y"]))
    edeks = {name: key["edek"] for name, key in made.json()["keys"].items()} | {"z": "ZWRlaw=="}
    await call(either.plane.app, "document/batch-unwrap", request(edeks=edeks))
    assert [event.object_id for event in either.trail.of(events.WRAP)] == ["x", "y"]
    assert [(event.object_id, event.outcome) for event in either.trail.of(events.UNWRAP)] == [
        ("x", "success"),
        ("y", "success"),
        ("z", "error"),
    ]


async def test_a_batch_takes_and_refuses_what_a_single_unwrap_does(either: World) -> None:
    """T-19: each EDEK by itself, among good ones that begin and end as it does."""
    first, second, third = [base64.b64decode((await wrap(either))["edek"]) for _ in range(3)]
    edeks = {"first": first, "moved": base64.b64decode((await wrap(either, "b"))["edek"]), "garbage": b"edek"}
    for bit in range(0, len(second) * 8, 23):
        changed = bytearray(second)
        changed[bit // 8] ^= 1 << bit % 8
        edeks[f"flipped {bit}"] = bytes(changed)
    edeks |= {f"cut {size}": third[:size] for size in (len(third) // 2, len(third) - 1)} | {"third": third}
    texts = {name: base64.b64encode(edek).decode() for name, edek in edeks.items()}

    answer = (await call(either.plane.app, "document/batch-unwrap", request(edeks=texts))).json()

    assert set(answer["keys"]) == {"first", "third"}
    for name, text in texts.items():
        single = (await unwrap(either, text)).json()
        assert answer["keys"].get(name, answer["failures"].get(name)) == single, name


async def test_each_key_of_a_batch_is_wrapped_under_a_key_of_its_own(leased: World) -> None:
    """ADR 4: two keys under one salt would be sealed with the same key and nonce."""
    await wrap(leased)  # its lease is in hand now
    asked = request(documentIds=list(map(str, range(300))))
    made = (await call(leased.plane.app, "document/batch-wrap", asked)).json()["keys"]
    contents = [edek.parse(base64.b64decode(one["edek"]), "a").content for one in made.values()]
    assert len({content[2:18] for content in contents}) == 300  # salts
    assert len({content[18:50] for content in contents}) == 300  # commitments
    assert len({one["dek"] for one in made.values()}) == 300


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 201])
async def test_every_key_of_a_batch_is_random_however_many_there_are(either: World, count: int) -> None:
    """T-20: what all keys were drawn in was zeroed, and for a key alone that was the key itself."""
    await wrap(either)
    asked = request(documentIds=list(map(str, range(count))))
    made = (await call(either.plane.app, "document/batch-wrap", asked)).json()["keys"]
    keys = {base64.b64decode(one["dek"]) for one in made.values()}
    assert len(keys) == count
    assert min(len(set(key)) for key in keys) > 8  # zeros, or parts of it zeros, have fewer values
    opened = await call(
        either.plane.app, "document/batch-unwrap", request(edeks={name: one["edek"] for name, one in made.items()})
    )
    assert {name: one["dek"] for name, one in opened.json()["keys"].items()} == {
        name: one["dek"] for name, one in made.items()
    }


@pytest.mark.parametrize("together", [1, 2, 5])
async def test_every_single_key_is_random_however_many_come_together(either: World, together: int) -> None:
    """The same for the keys of one turn of the loop."""
    await wrap(either)
    made = await asyncio.gather(*(wrap(either) for _ in range(together)))
    keys = {base64.b64decode(one["dek"]) for one in made}
    assert len(keys) == together
    assert min(len(set(key)) for key in keys) > 8
    for one in made:
        assert (await unwrap(either, one["edek"])).json() == {"dek": one["dek"]}


async def test_the_events_of_a_batch_say_what_those_of_single_requests_do(either: World) -> None:
    made = (await call(either.plane.app, "document/batch-wrap", request(documentIds=['"', "y"]))).json()["keys"]
    await call(either.plane.app, "document/batch-unwrap", request(edeks={name: made[name]["edek"] for name in made}))
    await unwrap(either, made["y"]["edek"])

    def told(event: AuditEvent) -> AuditEvent:
        return replace(event, id="", time="", ray_id="", object_id="")

    *_, before, last = either.trail.of(events.UNWRAP)
    assert told(before) == told(last)
    assert before.edek == either.trail.of(events.WRAP)[-1].edek != either.trail.of(events.WRAP)[0].edek
    assert [event.object_id for event in either.trail.of(events.WRAP)] == ['"', "y"]


async def test_a_large_batch_does_not_hold_up_other_requests(leased: World) -> None:
    """It waits for nothing, so it has to step aside by itself."""
    await wrap(leased)
    ended: list[str] = []

    async def ask(route: str, **more: Any) -> None:
        assert (await call(leased.plane.app, route, request(**more))).status == 200
        ended.append(route)

    batch = ask("document/batch-wrap", documentIds=[str(number) for number in range(2_000)])
    await asyncio.gather(batch, ask("document/wrap"))
    assert ended == ["document/wrap", "document/batch-wrap"]


async def test_no_event_holds_a_key(either: World) -> None:
    made = await wrap(either)
    trail = b"\n".join(map(events.dump, either.trail.events))
    assert made["dek"].encode() not in trail
    assert base64.b64decode(made["dek"]).hex().encode() not in trail


async def test_a_refusal_while_the_event_is_written_keeps_the_key_back(either: World) -> None:
    """R-5: looked at again after the event, before the reply; and the trail says so."""
    either.trail.then = lambda: either.plane.leases.refuse("a", 11, KmsRefused())
    answer = await call(either.plane.app, "document/wrap", request())
    assert answer.json()["code"] == 206
    assert [event.outcome for event in either.trail.of(events.WRAP)] == ["success", "refused"]
    answer = await call(either.plane.app, "document/batch-wrap", request(documentIds=["1"]))
    assert set(answer.json().get("failures", {"1"})) == {"1"}


async def test_rekey_gives_the_same_key_under_the_other_tenant(either: World) -> None:
    made = await wrap(either, "a")
    body = request("a", encryptedDocumentKey=made["edek"], newTenantId="b")
    moved = (await call(either.plane.app, "document/rekey", body)).json()
    assert moved["dek"] == made["dek"]
    assert moved["edek"] != made["edek"]
    assert (await unwrap(either, moved["edek"], "b")).json() == {"dek": made["dek"]}
    assert 200 <= (await unwrap(either, moved["edek"], "a")).json()["code"] < 300
    assert (await unwrap(either, made["edek"], "a")).status == 200
    assert [event.tenant for event in either.trail.of(events.REKEY)] == ["a", "b"]


async def test_rekey_to_the_same_tenant_takes_the_present_primary(direct: World) -> None:
    made = await wrap(direct, "a")
    direct.tenants.by_name["a"].kms.append(FakeKms(12))
    body = request("a", encryptedDocumentKey=made["edek"], newTenantId="a")
    again = (await call(direct.plane.app, "document/rekey", body)).json()
    assert again["dek"] == made["dek"]
    direct.tenants.by_name["a"].kms.pop(0)
    assert (await unwrap(direct, again["edek"], "a")).status == 200
    assert (await unwrap(direct, made["edek"], "a")).json()["code"] == 202


async def test_without_a_primary_nothing_is_wrapped_and_all_is_unwrapped(direct: World) -> None:
    made = await wrap(direct)
    direct.tenants.by_name["a"].has_primary = False
    for route, more in (("document/wrap", {}), ("document/batch-wrap", {"documentIds": ["x"]})):
        answer = await call(direct.plane.app, route, request(**more))
        assert (answer.status, answer.json()["code"]) == (422, 200)
    assert (await unwrap(direct, made["edek"])).status == 200


async def test_a_disabled_configuration_is_202(either: World) -> None:
    made = await wrap(either)
    either.tenants.by_name["a"].kms = [FakeKms(12)]
    assert (await unwrap(either, made["edek"])).json()["code"] == 202


async def test_one_or_two_faults_of_the_key_service_are_not_seen(direct: World) -> None:
    """R-3."""
    direct.kms().adapter.failures = [KmsUnreachable(), KmsUnreachable()]
    assert (await call(direct.plane.app, "document/wrap", request())).status == 200
    direct.kms().adapter.failures = [KmsUnreachable() for _ in range(4)]
    answer = await call(direct.plane.app, "document/wrap", request())
    assert (answer.status, answer.json()["code"]) == (503, 208)


async def test_an_unknown_tenant_has_no_trail(direct: World) -> None:
    await call(direct.plane.app, "document/wrap", request("nobody"))
    assert direct.trail.events == []


async def test_a_security_event_keeps_its_own_name_and_time(direct: World) -> None:
    body = request(iclFields={"requestingId": "u", "event": "USER_LOGIN"}, timestampMillis=1_700_000_000_123)
    await call(direct.plane.app, "event/security-event", body)
    [event] = direct.trail.events
    assert (event.action, event.time, event.requesting_id) == ("USER_LOGIN", "2023-11-14T22:13:20.123Z", "u")


async def test_reported_operations_are_counted_in_the_trail(either: World) -> None:
    made = await wrap(either)
    body = request(operations={made["edek"]: {"wraps": 0, "unwraps": 3}})
    await call(either.plane.app, "document/report-operations", body)
    [event] = either.trail.of(events.REPORT)
    assert (event.count, event.reason, event.edek) == (3, events.UNWRAP, either.trail.of(events.WRAP)[0].edek)
