"""API keys that are good for some tenants and operations: what they may, how they change, who learns of a refusal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.tsp.doubles import API_KEY, World, call, request, world
from tests.tsp.test_app import ROUTES
from tsp.access import AccessError, AccessFile, entry
from tsp.contract import events

READER, OWNER = "cmVhZGVyLWtleS0xMjM0NTY=", "b3duZXIta2V5LTEyMzQ1Njc4"


def write(path: Path, *entries: Any) -> Path:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(entries))
    os.replace(new, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(
        tmp_path / "keys.json", entry(READER, "reader", ["a"], ["unwrap", "event"]), entry(OWNER, "owner", ["a"], "*")
    )


@pytest.fixture
def scoped(tmp_path: Path, file: Path) -> Iterator[World]:
    made = world(tmp_path, scoped=AccessFile(file))
    yield made
    made.plane.close()


async def test_a_key_does_what_it_is_good_for(scoped: World) -> None:
    app = scoped.plane.app
    made = await call(app, "document/wrap", request(), key=f"cmk {OWNER}")
    body = request(encryptedDocumentKey=made.json()["edek"])
    assert (await call(app, "document/unwrap", body, key=f"cmk {READER}")).json() == {"dek": made.json()["dek"]}
    assert (await call(app, "document/unwrap", body, key=f"cmk {API_KEY}")).status == 200


@pytest.mark.parametrize("route", ROUTES)
async def test_another_operation_is_refused_with_an_event(scoped: World, route: str) -> None:
    """T-13. 101 goes with 401, since a client takes any 401 for 101 (wire.md rule 10)."""
    answer = await call(scoped.plane.app, route, request(**ROUTES[route]), key=f"cmk {READER}")
    if route in ("document/unwrap", "document/batch-unwrap", "event/security-event"):
        assert answer.status != 401
        return
    assert (answer.status, answer.json()["code"]) == (401, 101)
    assert [(event.action, event.tenant, event.outcome, event.code) for event in scoped.trail.events] == [
        (events.ACCESS_DENIED, "a", "refused", 101)
    ]
    assert "'reader'" in scoped.trail.events[0].reason
    assert scoped.trail.events[0].ray_id == answer.headers[b"x-ray-id"].decode()
    assert scoped.kms().adapter.calls == []


@pytest.mark.parametrize("route", ROUTES)
async def test_another_tenant_is_refused_with_an_event_in_its_trail(scoped: World, route: str) -> None:
    answer = await call(scoped.plane.app, route, request("b", **ROUTES[route]), key=f"cmk {OWNER}")
    assert (answer.status, answer.json()["code"]) == (401, 101)
    assert [(event.action, event.tenant) for event in scoped.trail.events] == [(events.ACCESS_DENIED, "b")]
    assert scoped.kms("b").adapter.calls == []


async def test_a_key_cannot_be_moved_to_a_tenant_out_of_scope(scoped: World) -> None:
    edek = (await call(scoped.plane.app, "document/wrap", request(), key=f"cmk {OWNER}")).json()["edek"]
    body = request(encryptedDocumentKey=edek, newTenantId="b")
    assert (await call(scoped.plane.app, "document/rekey", body, key=f"cmk {OWNER}")).status == 401
    many = request(edeks={"x": edek}, newTenantId="b")
    assert (await call(scoped.plane.app, "document/batch-rekey", many, key=f"cmk {OWNER}")).status == 401
    body["newTenantId"] = many["newTenantId"] = "a"
    assert (await call(scoped.plane.app, "document/rekey", body, key=f"cmk {OWNER}")).status == 200
    assert (await call(scoped.plane.app, "document/batch-rekey", many, key=f"cmk {OWNER}")).status == 200


async def test_whether_a_tenant_exists_is_not_told_out_of_scope(scoped: World) -> None:
    one = await call(scoped.plane.app, "document/wrap", request("b"), key=f"cmk {OWNER}")
    other = await call(scoped.plane.app, "document/wrap", request("nobody"), key=f"cmk {OWNER}")
    assert (one.status, one.body) == (other.status, other.body)


async def test_a_full_trail_lets_nobody_in(scoped: World) -> None:
    scoped.trail.full = True
    assert (await call(scoped.plane.app, "document/wrap", request("b"), key=f"cmk {OWNER}")).status == 401


def test_a_change_counts_and_an_empty_list_takes_all_keys_back(file: Path) -> None:
    access = AccessFile(file)
    digest = sha256(READER.encode()).digest()
    found = access.find(digest)
    assert found is not None
    assert found.name == "reader"
    write(file, entry(READER, "reader", "*", ["unwrap"]))
    access.refresh()
    changed = access.find(digest)
    assert changed is not None
    assert changed.tenants is None
    assert access.find(sha256(OWNER.encode()).digest()) is None
    write(file)
    access.refresh()
    assert access.find(digest) is None


BAD = {
    "no list": {"keys": []},
    "a number": [1],
    "a member missing": [{"name": "x", "sha256": "0" * 64, "tenants": "*"}],
    "a member too many": [{**entry("k", "x", "*", "*"), "key": "k"}],
    "a bad name": [{**entry("k", "x", "*", "*"), "name": "a b"}],
    "the name of a setting": [{**entry("k", "x", "*", "*"), "name": "TSP_API_KEY"}],
    "an upper-case hash": [{**entry("k", "x", "*", "*"), "sha256": "A" * 64}],
    "a key instead of its hash": [{**entry("k", "x", "*", "*"), "sha256": READER}],
    "no tenants": [{**entry("k", "x", "*", "*"), "tenants": []}],
    "all as a list": [{**entry("k", "x", "*", "*"), "tenants": ["*"]}],
    "an unknown operation": [{**entry("k", "x", "*", "*"), "operations": ["open"]}],
    "a name twice": [entry("k", "x", "*", "*"), entry("l", "x", "*", "*")],
    "a key twice": [entry("k", "x", "*", "*"), entry("k", "y", "*", "*")],
}


@pytest.mark.parametrize(
    "content",
    [*map(json.dumps, BAD.values()), "", "[", "[" * 100_000],
    ids=[*BAD, "empty", "cut", "deep"],
)
def test_a_file_that_is_wrong_stops_the_start_and_changes_nothing_later(
    file: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    access = AccessFile(file)
    file.write_text(content + " ")
    with pytest.raises(AccessError, match="TSP_API_KEYS_FILE") as caught:
        AccessFile(file)
    assert READER not in str(caught.value)
    access.refresh()
    assert access.find(sha256(READER.encode()).digest()) is not None
    assert "stay as they were" in caplog.text
    file.unlink()
    access.refresh()
    assert access.find(sha256(READER.encode()).digest()) is not None


def test_the_command_makes_an_entry_for_the_file_and_shows_the_key_once(tmp_path: Path) -> None:
    out = StringIO()
    scope = ("--tenant", "a", "--tenant", "b", "--operation", "unwrap")
    call_command("tsp_api_key", "--name", "reports", *scope, stdout=out)
    first, second = out.getvalue().splitlines()
    key, made = first.removeprefix("API key  "), json.loads(second)
    assert made == {
        "name": "reports",
        "sha256": sha256(key.encode()).hexdigest(),
        "tenants": ["a", "b"],
        "operations": ["unwrap"],
    }
    assert key not in second
    found = AccessFile(write(tmp_path / "keys.json", made)).find(sha256(key.encode()).digest())
    assert found is not None
    assert (found.tenants, found.operations) == (frozenset({"a", "b"}), frozenset({"unwrap"}))


def test_the_command_without_tenants_makes_a_key_for_all_and_refuses_a_bad_name() -> None:
    out = StringIO()
    call_command("tsp_api_key", "--name", "all", stdout=out)
    assert json.loads(out.getvalue().splitlines()[1])["tenants"] == "*"
    with pytest.raises(CommandError, match="name"):
        call_command("tsp_api_key", "--name", "a b", stdout=out)
