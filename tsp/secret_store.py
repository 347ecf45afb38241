"""Tenant secrets at the portal, which keeps them as it gets them: wrapped. Here they are remembered for seconds."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from encrypted_fields.core.errors import SecretCreationFailed
from encrypted_fields.core.protocol import MAX_EDEK
from tsp.clock import Clock, SystemClock
from tsp.contract import secrets
from tsp.derive import Found, StoredSecret
from tsp.egress import Egress, EgressError, Response
from tsp.one_at_a_time import OneAtATime

PATH = "/api/proxy/secrets"
MOST = 20_000  # places remembered: ciphertext only, a few hundred bytes each
_SECONDS = 5.0
_THREADS = 8
_MAX_REPLY = 65_536
_log = logging.getLogger(__name__)
_Place = tuple[str, str]  # tenant, and the digest of type and path


class StoreFailed(SecretCreationFailed):
    """The portal cannot be asked, or answered what is not of its interface."""

    default = "the tenant's secrets cannot be read: the portal that keeps them, wrapped, does not answer as it should"


@dataclass(slots=True)
class _Known:
    """What the portal said last, its ETag, and until when (boot seconds) nobody asks again."""

    found: Found
    tag: str
    until: float


class BrokerSecrets:
    """A SecretStore at the portal. Thread-bound to one event loop; one question at a time for each place.

    A place is asked for again after `secrets.CACHE_SECONDS`, so that a rotation shows within seconds. While the portal
    is away, what it said last goes on: a secret that was archived meanwhile opens nothing that it did not open before.
    """

    def __init__(self, url: str, token: str, *, name: str, clock: Clock | None = None) -> None:
        self._url = url.rstrip("/") + PATH
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self._name = name
        self._clock = clock or SystemClock()
        # the operator, not a tenant, chose this address: it may be a private one
        self._egress = Egress(allow=("0.0.0.0/0", "::/0"))
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="secrets")
        self._known: OrderedDict[_Place, _Known] = OrderedDict()
        self._asking: OneAtATime[_Place, Found] = OneAtATime()

    def __repr__(self) -> str:
        return f"<BrokerSecrets {self._url}>"

    async def find(self, tenant: str, kind: str, path: str) -> Found:
        place = (tenant, secrets.place_of(kind, path))
        known = self._known.get(place)
        if known is not None and self._clock.boot() < known.until:
            self._known.move_to_end(place)
            return known.found
        return await self._asking(place, lambda: self._find(place))

    async def create(self, tenant: str, kind: str, path: str, config: int, wrapped: bytes) -> Found:
        place = (tenant, secrets.place_of(kind, path))
        body = {
            "tsp": self._name,
            "tenant": tenant,
            "type": kind,
            "path": path,
            "config": config,
            "wrapped": base64.b64encode(wrapped).decode(),
        }
        headers = {**self._headers, "content-type": "application/json"}
        response = await self._ask("POST", self._url, headers, json.dumps(body).encode())
        if response.status not in (200, 201):
            raise SecretCreationFailed(f"the portal does not keep the tenant secret: it answered {response.status}")
        return self._keep(place, response)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._egress.close()

    async def _find(self, place: _Place) -> Found:
        known = self._known.get(place)
        headers = {**self._headers, **({"if-none-match": known.tag} if known and known.tag else {})}
        query = urlencode({"tenant": place[0], "place": place[1]})
        try:
            response = await self._ask("GET", f"{self._url}?{query}", headers)
            if known is not None and response.status == 304:
                known.until = self._clock.boot() + secrets.CACHE_SECONDS
                return known.found
            if response.status != 200:
                raise StoreFailed(f"the tenant's secrets cannot be read: the portal answered {response.status}")
            return self._keep(place, response)
        except StoreFailed as error:
            if known is None:
                raise
            known.until = self._clock.boot() + secrets.CACHE_SECONDS  # nobody else waits for it until then
            _log.warning("the portal is not asked for secrets: %s", error, extra={"tenant": place[0]})
            return known.found

    def _keep(self, place: _Place, response: Response) -> Found:
        found = _found(response.body)
        if found.secrets:  # that there is none is not remembered: somebody may be making it now
            until = self._clock.boot() + secrets.CACHE_SECONDS
            self._known[place] = _Known(found, response.headers.get("etag", ""), until)
            self._known.move_to_end(place)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        return found

    async def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Response:
        def work() -> Response:
            return self._egress.request(method, url, headers=headers, body=body, timeout=_SECONDS, max_bytes=_MAX_REPLY)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except EgressError as error:
            reason = str(error)
        raise StoreFailed(f"the tenant's secrets cannot be read: the portal cannot be asked ({reason})")


def _found(body: bytes) -> Found:
    """What the portal said. StoreFailed unless it is one to encrypt with, which comes first, or nothing at all."""
    try:
        reply = json.loads(body)
        rows = [_secret(row) for row in _list(reply["secrets"])]
        wanting = reply["wanting"]
    except (ValueError, KeyError, TypeError, RecursionError):
        rows, wanting = [], None
    one_current = [row.current for row in rows] in ([], [True], [True, False])
    if type(wanting) is not bool or not one_current or not (rows or wanting):
        raise StoreFailed
    return Found(rows, wanting)


def _list(rows: Any) -> list[Any]:
    if not isinstance(rows, list) or len(rows) > 2:
        raise ValueError("not a list of at most two secrets")
    return rows


def _secret(row: Any) -> StoredSecret:
    number, current = row["id"], row["current"]
    if type(number) is not int or not 1 <= number <= secrets.MAX_ID or type(current) is not bool:
        raise ValueError("not a secret")
    try:
        wrapped = base64.b64decode(row["wrapped"], validate=True)
    except binascii.Error:
        wrapped = b""
    if not 0 < len(wrapped) <= MAX_EDEK:
        raise ValueError("not a secret")
    return StoredSecret(number, wrapped, current)
