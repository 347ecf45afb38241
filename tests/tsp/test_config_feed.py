"""The way to the portal: pages, ETag, reports, and replies that are wrong in every way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support import canary
from tests.support.feed import TOKEN, FeedServer
from tests.support.people import NORTH, VENDOR, document, key_id, sealed_record
from tests.support.processes import free_port
from tsp.config_feed import BrokerFeed, FeedError, Result
from tsp.contract import sealed


@pytest.fixture
def server() -> Iterator[FeedServer]:
    found = FeedServer()
    yield found
    found.stop()


def _feed(url: str, token: str = TOKEN) -> BrokerFeed:
    return BrokerFeed(url, token, vendor=VENDOR, name="tsp-1", keys=[key_id()])


def test_fetches_page_by_page_and_then_hears_that_nothing_changed(server: FeedServer) -> None:
    server.page = 2
    server.records = [sealed_record(document(f"t{at}", at), sequence=at) for at in range(1, 4)]
    server.disabled = [3]
    feed = _feed(server.url)

    first = feed.fetch(0)
    assert first is not None
    assert ([one.sequence for one in first.records], first.more, first.last, first.disabled) == ([1, 2], True, 2, [3])
    assert first.records[0] == server.records[0]
    second = feed.fetch(2)
    assert second is not None
    assert ([one.sequence for one in second.records], second.more) == ([3], False)
    assert feed.fetch(2) is None
    server.disabled = []
    assert feed.fetch(2) is not None


def test_reports_in_the_agreed_form(server: FeedServer) -> None:
    _feed(server.url).report([Result(NORTH, 1, 2, "refused", "kms_unreachable")])

    assert server.reports == [
        {
            "tsp": "tsp-1",
            "version": "0.1.0",
            "keys": [key_id()],
            "results": [{"tenant": NORTH, "config": 1, "version": 2, "state": "refused", "reason": "kms_unreachable"}],
        }
    ]


@pytest.mark.parametrize(
    "raw",
    [
        (500, b""),
        (302, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"vendor": "acme", "records": {}, "disabled": [], "more": false}'),
        (200, b'{"vendor": "evil", "records": [], "disabled": [], "more": false}'),
        (200, b'{"vendor": "acme", "records": [], "disabled": ["1"], "more": false}'),
        (200, b'{"vendor": "acme", "records": [], "disabled": [1e9], "more": false}'),
        (200, b'{"vendor": "acme", "records": [], "disabled": [], "more": 1}'),
        (200, b'{"vendor": "acme", "records": [], "disabled": [], "more": false, "leasing_required": "north"}'),
        (200, b'{"vendor": "acme", "records": [], "disabled": [], "more": false, "leasing_required": ["../x"]}'),
        (200, b"\xff\xfe{}"),
    ],
)
def test_garbage_is_an_error_and_nothing_else(server: FeedServer, raw: tuple[int, bytes]) -> None:
    """R-14."""
    server.raw = raw
    with pytest.raises(FeedError):
        _feed(server.url).fetch(0)


def test_reads_whom_the_vendor_wants_leased(server: FeedServer) -> None:
    server.raw = (
        200,
        b'{"vendor": "acme", "records": [], "disabled": [], "more": false, "leasing_required": ["north"]}',
    )
    found = _feed(server.url).fetch(0)
    assert found is not None
    assert found.leasing_required == {NORTH}


def test_a_damaged_record_is_left_out_and_counted(server: FeedServer) -> None:
    """R-14: its sequence number still counts, or the proxy would ask for it for ever."""
    good = sealed.dump(sealed_record(document(NORTH, 1), sequence=1))
    bad = {**sealed.dump(sealed_record(document("south", 2), sequence=2)), "boxes": {"x": "y"}}
    page = {"vendor": VENDOR, "records": [good, bad, None, 7], "disabled": [], "more": False}
    server.raw = (200, json.dumps(page).encode())

    found = _feed(server.url).fetch(0)

    assert found is not None
    assert ([one.tenant for one in found.records], found.damaged, found.last) == ([NORTH], 3, 2)


def test_a_portal_that_is_away_or_says_no_is_an_error(server: FeedServer) -> None:
    with pytest.raises(FeedError, match="cannot be asked"):
        _feed(f"http://127.0.0.1:{free_port()}").fetch(0)
    with pytest.raises(FeedError, match="401"):
        _feed(server.url, "wrong").fetch(0)
    with pytest.raises(FeedError, match="401"):
        _feed(server.url, "wrong").report([])


def test_the_token_is_not_shown() -> None:
    token = canary.plant("the proxy's service token")
    feed = _feed(f"http://127.0.0.1:{free_port()}", token)
    with pytest.raises(FeedError) as error:
        feed.fetch(0)
    assert not canary.leaks(f"{feed!r} {error.value}")
