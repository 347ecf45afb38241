"""The proxy's way to the portal: fetch sealed records, report what became of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tsp.contract import sealed
from tsp.contract.sealed import Record
from tsp.contract.tenant import MAX_CONFIG, DocumentError, is_name
from tsp.egress import Egress, EgressError, Response

MAX_PAGE = 64 * 1024 * 1024
_SECONDS = 30.0
VERSION = "0.1.0"


class FeedError(Exception):
    """The portal cannot be reached, or says what we do not understand: the last good configurations go on."""


@dataclass(frozen=True, slots=True)
class Page:
    """`damaged`: how many records did not even have the right shape. `last`: the highest sequence, also of those.
    `leasing_required`: the tenants whose new key configurations the vendor wants leased."""

    records: list[Record]
    disabled: list[int]
    more: bool
    last: int
    damaged: int = 0
    leasing_required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a record; `reason` is from tsp.configs.admission.REASONS."""

    tenant: str
    config: int
    version: int
    state: Literal["active", "refused"]
    reason: str = ""


class Feed(Protocol):
    def fetch(self, after: int) -> Page | None:
        """Blocking. The records behind sequence number `after`; None if nothing changed since then. FeedError."""

    def report(self, results: Collection[Result]) -> None:
        """Blocking. FeedError if it did not arrive."""


class BrokerFeed:
    """The portal at `url`, asked with a service token. `name` is this proxy's, `keys` its key ids."""

    def __init__(self, url: str, token: str, *, vendor: str, name: str, keys: Collection[str]) -> None:
        self._url, self._vendor, self._name, self._keys = url.rstrip("/"), vendor, name, list(keys)
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        # the operator, not a tenant, chose this address: it may be a private one
        self._egress = Egress(allow=("0.0.0.0/0", "::/0"))
        self._tag: tuple[int, str] | None = None

    def __repr__(self) -> str:
        return f"<BrokerFeed {self._url}>"

    def fetch(self, after: int) -> Page | None:
        headers = dict(self._headers)
        if self._tag is not None and self._tag[0] == after:
            headers["if-none-match"] = self._tag[1]
        response = self._ask("GET", f"/api/proxy/configs?after={after}", headers)
        if response.status == 304:
            return None
        if response.status != 200:
            raise FeedError(f"the portal answered {response.status}")
        page = _page(response.body, self._vendor)
        self._tag = (after, response.headers["etag"]) if "etag" in response.headers else None
        return page

    def report(self, results: Collection[Result]) -> None:
        body = {
            "tsp": self._name,
            "version": VERSION,
            "keys": self._keys,
            "results": [{name: getattr(result, name) for name in Result.__dataclass_fields__} for result in results],
        }
        headers = {**self._headers, "content-type": "application/json"}
        response = self._ask("POST", "/api/proxy/status", headers, json.dumps(body).encode())
        if response.status not in (200, 204):
            raise FeedError(f"the portal answered {response.status} to the report")

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Response:
        try:
            return self._egress.request(
                method, self._url + path, headers=headers, body=body, timeout=_SECONDS, max_bytes=MAX_PAGE
            )
        except EgressError as error:
            raise FeedError(f"the portal cannot be asked: {error}") from None


def _page(body: bytes, vendor: str) -> Page:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise FeedError("the portal's reply is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("records"), list):
        raise FeedError("the portal's reply has no records")
    if found.get("vendor") != vendor:
        raise FeedError("the portal's reply is for another vendor: TSP_BROKER_TOKEN and CMK_VENDOR do not fit")
    disabled, more = found.get("disabled"), found.get("more")
    if not isinstance(disabled, list) or type(more) is not bool or not all(_is_config(one) for one in disabled):
        raise FeedError("the portal's reply says nothing clear of 'disabled' and 'more'")
    required = found.get("leasing_required", [])
    if not isinstance(required, list) or not all(is_name(one) for one in required):
        raise FeedError("the portal's reply says nothing clear of 'leasing_required'")
    records, last = [], 0
    for one in found["records"]:
        last = max(last, _sequence(one))
        try:
            records.append(sealed.load(one))
        except DocumentError:  # one tenant's garbage must not keep the others from being served
            continue
    return Page(records, disabled, more, last, len(found["records"]) - len(records), frozenset(required))


def _is_config(one: object) -> bool:
    return type(one) is int and 1 <= one <= MAX_CONFIG


def _sequence(one: Any) -> int:
    sequence = one.get("sequence") if isinstance(one, dict) else None
    return sequence if type(sequence) is int and 0 <= sequence < 2**63 else 0
