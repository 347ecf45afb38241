"""Tenant secrets at the portal, as a proxy sees them: remembered for seconds, asked for once, never made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from encrypted_fields.core.errors import SecretCreationFailed
from tests.support.secret_portal import TOKEN, SecretPortal
from tests.tsp.doubles import ManualClock
from tsp.contract.secrets import CACHE_SECONDS, place_of
from tsp.secret_store import BrokerSecrets, StoreFailed

PLACE = ("a", "vector", "ärztlich ✓ " * 100)


@pytest.fixture
def portal() -> Iterator[SecretPortal]:
    made = SecretPortal()
    yield made
    made.stop()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(portal: SecretPortal, clock: ManualClock) -> Iterator[BrokerSecrets]:
    made = BrokerSecrets(portal.url, TOKEN, name="tsp-1", clock=clock)
    yield made
    made.close()


async def test_what_one_proxy_leaves_the_others_find(portal: SecretPortal, store: BrokerSecrets) -> None:
    assert (await store.find(*PLACE)).wanting
    made = await store.create(*PLACE, 7, b"edek")
    assert ([(one.id, one.wrapped, one.current) for one in made.secrets], made.wanting) == ([(1, b"edek", True)], False)
    other = BrokerSecrets(portal.url, TOKEN, name="tsp-2")
    assert await other.find(*PLACE) == made
    assert await other.create(*PLACE, 7, b"late") == made
    other.close()
    assert (portal.posted[0]["tsp"], portal.posted[0]["config"], portal.posted[0]["path"]) == ("tsp-1", 7, PLACE[2])


async def test_the_portal_is_asked_again_after_seconds_only(
    portal: SecretPortal, store: BrokerSecrets, clock: ManualClock
) -> None:
    await store.create(*PLACE, 7, b"edek")
    for _ in range(100):
        await store.find(*PLACE)
    assert len(portal.asked) == 1
    clock.advance(CACHE_SECONDS + 0.1)
    await store.find(*PLACE)
    await store.find(*PLACE)
    assert [(method, status) for method, _, status in portal.asked] == [("POST", 201), ("GET", 304)]


async def test_a_rotation_shows_within_seconds(portal: SecretPortal, store: BrokerSecrets, clock: ManualClock) -> None:
    await store.create(*PLACE, 7, b"one")
    portal.rotate(*PLACE)
    clock.advance(CACHE_SECONDS + 0.1)
    found = await store.find(*PLACE)
    assert ([one.id for one in found.secrets], found.wanting) == ([1], True)
    found = await store.create(*PLACE, 7, b"two")
    assert [(one.id, one.wrapped, one.current) for one in found.secrets] == [(2, b"two", True), (1, b"one", False)]


async def test_that_there_is_none_is_not_remembered(portal: SecretPortal, store: BrokerSecrets) -> None:
    """Another proxy may be making it at this moment."""
    for _ in range(3):
        assert (await store.find(*PLACE)).wanting
    assert len(portal.asked) == 3


async def test_many_at_once_ask_once(portal: SecretPortal, store: BrokerSecrets, clock: ManualClock) -> None:
    await store.create(*PLACE, 7, b"edek")
    clock.advance(CACHE_SECONDS + 0.1)
    portal.gate.clear()
    waiting = [asyncio.ensure_future(store.find(*PLACE)) for _ in range(200)]
    await asyncio.sleep(0.1)
    portal.gate.set()
    assert len({found.secrets[0].id for found in await asyncio.gather(*waiting)}) == 1
    assert len(portal.asked) == 2


async def test_one_that_gives_up_does_not_take_the_others_along(
    portal: SecretPortal, store: BrokerSecrets, clock: ManualClock
) -> None:
    await store.create(*PLACE, 7, b"edek")
    clock.advance(CACHE_SECONDS + 0.1)
    portal.gate.clear()
    first, second = (asyncio.ensure_future(store.find(*PLACE)) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    portal.gate.set()
    assert (await second).secrets[0].id == 1


@pytest.mark.parametrize("fault", ["gone", 500, 401, 404, 302])
async def test_while_the_portal_is_away_what_it_said_last_goes_on(
    portal: SecretPortal, store: BrokerSecrets, clock: ManualClock, fault: Any
) -> None:
    made = await store.create(*PLACE, 7, b"edek")
    if fault == "gone":
        portal.stop()
    else:
        portal.raw = (fault, b"{}")
    for _ in range(3):
        clock.advance(CACHE_SECONDS + 0.1)
        before = len(portal.asked)
        for _ in range(20):
            assert await store.find(*PLACE) == made
        assert len(portal.asked) - before <= 1, "it is not asked by every request"
    with pytest.raises(SecretCreationFailed):
        await store.find("a", "vector", "another")
    with pytest.raises(SecretCreationFailed):
        await store.create("a", "vector", "another", 7, b"edek")


RIGHT = {"secrets": [{"id": 1, "wrapped": "ZWRlaw==", "current": True}], "wanting": False}
_ONE = RIGHT["secrets"][0]  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b'{"secrets":[]}', b"[" * 5000, b'{"secrets":[],"wanting":false}',
        b'{"secrets":{},"wanting":true}', b'{"secrets":[],"wanting":1}', b'{"secrets":["x"],"wanting":false}',
        *(
            json.dumps({**RIGHT, "secrets": rows}).encode()
            for rows in (
                [_ONE] * 3, [_ONE, _ONE], [{**_ONE, "current": False}], [{**_ONE, "current": 1}],
                [{**_ONE, "id": 0}], [{**_ONE, "id": 2**32}], [{**_ONE, "id": True}], [{**_ONE, "id": "1"}],
                [{**_ONE, "wrapped": ""}], [{**_ONE, "wrapped": "*"}], [{**_ONE, "wrapped": None}],
                [{**_ONE, "wrapped": "A" * 8000}],
            )
        ),
    ],
    ids=lambda body: str(body[:60]),
)  # fmt: skip
async def test_a_reply_that_makes_no_sense_is_no_secret(
    portal: SecretPortal, store: BrokerSecrets, body: bytes
) -> None:
    """Above all it is not "there is none", which would make a second one."""
    portal.raw = (200, body)
    with pytest.raises(StoreFailed):
        await store.find(*PLACE)


async def test_a_reply_without_end_is_cut(portal: SecretPortal, store: BrokerSecrets) -> None:
    portal.raw = (200, b" " * 100_000 + json.dumps(RIGHT).encode())
    with pytest.raises(StoreFailed):
        await store.find(*PLACE)


async def test_the_token_shows_nowhere(portal: SecretPortal, plant: Any, caplog: pytest.LogCaptureFixture) -> None:
    token = plant("the proxy's service token")
    store = BrokerSecrets(portal.url, token, name="tsp-1")
    assert token not in repr(store)
    with pytest.raises(SecretCreationFailed) as caught:
        await store.find(*PLACE)
    assert token not in str(caught.value)
    store.close()


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "x" * 4097, None])
def test_a_path_that_no_database_takes_has_no_place(path: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        place_of("vector", path)


def test_places_differ_by_type_and_path_and_stay() -> None:
    """Frozen: wrapped secrets are bound to these digits."""
    found = {place_of(kind, path) for kind in ("vector", "search", "deterministic") for path in ("", "a", "b")}
    assert len(found) == 9
    assert place_of("deterministic", "mail") == "31b8f81d64e7997ed6d867f6c2bd61ad96c80502292ae391165a865047183692"
