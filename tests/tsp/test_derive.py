"""Keys derived from tenant secrets: the known answers, their stability, and their limits. wire.md section 8."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from encrypted_fields.core.errors import KmsRefused
from tests.tsp.doubles import World, call, request, world
from tsp.contract import events
from tsp.derive import derived_key
from tsp.secret_file import FileSecrets

ROUTE = "key/derive-with-secret-path"


def body(tenant: str = "a", kind: str = "deterministic", **paths: list[str]) -> dict[str, Any]:
    return request(tenant, paths=paths or {"p": ["q"]}, derivationType="sha512", secretType=kind)


async def derive(made: World, *args: Any, **paths: Any) -> Any:
    answer = await call(made.plane.app, ROUTE, body(*args, **paths))
    assert answer.status == 200, answer.body
    return answer.json()["derivedKeys"]


def test_the_published_known_answers() -> None:
    first = derived_key(bytes(32), "tenant", "somesalt")
    assert first.hex() == (
        "52ba2d53de38b22a3de3c5db3a6ce37cba2b957e9307fbadfac98eb4d5780d50"
        "0f979a7421e5bfc8614a3630c454d5ca540ccae1141202664ca53034864c57fa"
    )
    secret = base64.b64decode("ScbKs2h0XSaBQ/vXp04RmChAffLjh2nxBgRT95j21FM=")
    assert base64.b64encode(derived_key(secret, "tenant-gcp", "derivPath")).decode() == (
        "+5RA+h4hWWs28cDBaJ0xf6VekSt+NyqJLnj9/GLugMBgwPhV/Qcefs21asNN+iN3h1H8MSjRlgA+V7CyPfmFYw=="
    )


async def test_every_asked_combination_is_answered(direct: World) -> None:
    found = await derive(direct, one=["x", "y", "x"], two=[""], three=[])
    assert {path: set(keys) for path, keys in found.items()} == {"one": {"x", "y"}, "two": {""}, "three": set()}
    for keys in found.values():
        for [key] in keys.values():
            assert len(base64.b64decode(key["derivedKey"])) == 64
            assert key["current"] is True
            assert 1 <= key["tenantSecretId"] <= 2**32 - 1


async def test_keys_are_stable_and_differ_by_tenant_type_and_both_paths(direct: World, tmp_path: Path) -> None:
    seen = {
        (tenant, kind, path, name): (await derive(direct, tenant, kind, **{path: [name]}))[path][name][0]["derivedKey"]
        for tenant in "ab"
        for kind in ("deterministic", "vector", "search")
        for path in "pq"
        for name in "xy"
    }
    assert len(set(seen.values())) == len(seen)
    again = await derive(direct, "a", "vector", q=["x"])
    assert again["q"]["x"][0]["derivedKey"] == seen["a", "vector", "q", "x"]


async def test_a_restart_finds_the_same_secrets(tmp_path: Path) -> None:
    first = world(tmp_path)
    key = await derive(first)
    second = world(tmp_path, tenants=first.tenants)
    assert await derive(second) == key
    first.plane.close()
    second.plane.close()


async def test_the_secret_is_kept_wrapped_only(direct: World, tmp_path: Path) -> None:
    await derive(direct)
    [stored] = (await FileSecrets(tmp_path / "secrets.json").find("a", "deterministic", "p")).secrets
    assert len(stored.wrapped) > 34 + 32
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("member", "value"), [("derivationType", "argon2"), ("secretType", "other")])
async def test_unknown_types_are_102(direct: World, member: str, value: str) -> None:
    answer = await call(direct.plane.app, ROUTE, {**body(), member: value})
    assert (answer.status, answer.json()["code"]) == (400, 102)
    assert member in answer.json()["message"]


async def test_without_a_primary_existing_secrets_still_serve(direct: World) -> None:
    before = await derive(direct)
    direct.tenants.by_name["a"].has_primary = False
    answer = (await call(direct.plane.app, ROUTE, body())).json()
    assert (answer["hasPrimaryConfig"], answer["derivedKeys"]) == (False, before)
    missing = await call(direct.plane.app, ROUTE, body(new=["x"]))
    assert (missing.status, missing.json()["code"]) == (500, 401)


async def test_a_key_service_that_refuses_gives_no_derived_key(direct: World) -> None:
    await derive(direct)
    direct.kms().adapter.failure = KmsRefused()
    answer = await call(direct.plane.app, ROUTE, body())
    assert answer.json()["code"] == 206
    assert [event.outcome for event in direct.trail.of(events.DERIVE)] == ["success", "refused"]


async def test_a_secret_that_does_not_open_again_is_not_kept(direct: World, tmp_path: Path) -> None:
    direct.kms().adapter.flip = True
    answer = await call(direct.plane.app, ROUTE, body())
    assert answer.json()["code"] == 401
    assert not (tmp_path / "secrets.json").exists()


async def test_a_refusal_meanwhile_keeps_the_keys_back(direct: World) -> None:
    """R-5."""
    await derive(direct)
    direct.trail.then = lambda: direct.plane.leases.refuse("a", 11, KmsRefused())
    assert (await call(direct.plane.app, ROUTE, body())).json()["code"] == 206
