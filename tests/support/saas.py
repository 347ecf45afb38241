"""The vendor's service under load: threads that ask proxies for keys and note each request, and each key they got."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.tsp.doubles import API_KEY
from tsp import edek

WRAP, UNWRAP, BATCH_WRAP, BATCH_UNWRAP, REKEY, BATCH_REKEY = (
    "document/wrap", "document/unwrap", "document/batch-wrap", "document/batch-unwrap", "document/rekey",
    "document/batch-rekey",
)  # fmt: skip
FOREIGN = "another tenant's"  # an unwrap that must not work
_KEPT = 40  # EDEKs of a tenant that one thread remembers
_BATCH = 5


@dataclass(frozen=True, slots=True)
class Stored:
    """What a row holds, and what its key must be."""

    tenant: str
    edek: str
    dek: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `status` 0: no answer came. Times are CLOCK_BOOTTIME. `released`: the keys that came; of a rekey
    the old and the new, one after the other (a batch of them brings no DEK: it is what the old one was).
    """

    id: str
    port: int
    route: str
    tenant: str
    began: float
    ended: float
    status: int
    code: int
    most: int  # keys that it may have released
    released: tuple[Stored, ...] = ()
    wrong: tuple[str, ...] = ()  # what was not the key that it must be


def boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@lru_cache(1 << 18)  # a balance is drawn up again and again while events arrive
def mark(stored: Stored) -> str:
    """What an audit event calls this wrapped key."""
    return edek.fingerprint(edek.parse(base64.b64decode(stored.edek), stored.tenant).content)


class Saas:
    """`threads` clients on all `ports`, for `tenants`, until `stop`. `calls` is what happened so far."""

    def __init__(
        self,
        ports: Sequence[int],
        tenants: Sequence[str],
        *,
        threads: int = 6,
        pause: float = 0.0,
        seed: int = 0,
        routes: Sequence[str] = (WRAP, UNWRAP, UNWRAP, BATCH_WRAP, BATCH_UNWRAP),
        timeout: float = 15.0,
    ) -> None:
        self.ports, self.tenants, self.routes = ports, tenants, routes
        self.calls: list[Call] = []
        self._numbers = itertools.count()
        self._pause, self._timeout = pause, timeout
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed}-{at}"), at), daemon=True)
            for at in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Call]:
        """All calls, when the last one has ended."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        return self.calls

    def served(self) -> int:
        return sum(call.status == 200 for call in list(self.calls))

    def _run(self, draw: random.Random, at: int) -> None:
        kept: dict[str, list[Stored]] = {name: [] for name in self.tenants}
        client = _Client(self._timeout)
        while not self._stopped.wait(self._pause):
            port = self.ports[(at + draw.randrange(len(self.ports))) % len(self.ports)]
            tenant = draw.choice(list(self.tenants))
            call = self._one(client, draw, port, tenant, kept)
            self.calls.append(call)
            if not call.status:
                time.sleep(0.05)
        client.close()

    def _one(self, client: _Client, draw: random.Random, port: int, tenant: str, kept: dict[str, list[Stored]]) -> Call:
        route, known = draw.choice(list(self.routes)), kept[tenant]
        if route in (UNWRAP, BATCH_UNWRAP, REKEY, BATCH_REKEY, FOREIGN) and not known:
            route = WRAP
        asked: list[Stored] = []
        body: dict[str, Any] = {"tenantId": tenant, "customFields": {}}
        if route in (UNWRAP, REKEY, FOREIGN):
            asked = [draw.choice(known)]
            body["encryptedDocumentKey"] = asked[0].edek
        if route == FOREIGN:
            body["tenantId"] = draw.choice([name for name in self.tenants if name != tenant])
        target = tenant
        if route in (REKEY, BATCH_REKEY):
            target = body["newTenantId"] = draw.choice(list(self.tenants))
        if route in (BATCH_UNWRAP, BATCH_REKEY):
            asked = draw.choices(known, k=_BATCH)
            body["edeks"] = {str(number): one.edek for number, one in enumerate(asked)}
        if route == BATCH_WRAP:
            body["documentIds"] = [str(number) for number in range(_BATCH)]
        name = f"request-{next(self._numbers)}"
        body["iclFields"] = {"requestingId": "load", "requestId": name}
        began = boot()
        status, reply = client.post(port, UNWRAP if route == FOREIGN else route, body)
        ended = boot()
        released, wrong = _released(route, tenant, target, asked, reply) if status == 200 else ((), ())
        if not wrong:
            for one in released:
                kept[one.tenant] = [*kept[one.tenant][-_KEPT:], one]
        most = (_BATCH if "batch" in route else 1) * (2 if route in (REKEY, BATCH_REKEY) else 1)
        code = reply.get("code", 0) if isinstance(reply, dict) else 0
        return Call(name, port, route, tenant, began, ended, status, code, most, released, wrong)


def _released(
    route: str, tenant: str, target: str, asked: Sequence[Stored], reply: Any
) -> tuple[tuple[Stored, ...], tuple[str, ...]]:
    if route == FOREIGN:
        return (), (asked[0].edek,)
    if route == WRAP:
        return (Stored(tenant, reply["edek"], reply["dek"]),), ()
    if route == BATCH_WRAP:
        return tuple(Stored(tenant, one["edek"], one["dek"]) for one in reply["keys"].values()), ()
    if route == UNWRAP:
        found = [(asked[0], reply["dek"])]
    elif route == REKEY:
        new = Stored(target, reply["edek"], reply["dek"])
        return (asked[0], new), (() if new.dek == asked[0].dek else (asked[0].edek,))
    elif route == BATCH_REKEY:
        olds = [(asked[int(number)], one["edek"]) for number, one in reply["keys"].items()]
        return tuple(row for old, new in olds for row in (old, Stored(target, new, old.dek))), ()
    else:
        found = [(asked[int(number)], one["dek"]) for number, one in reply["keys"].items()]
    return tuple(one for one, _ in found), tuple(one.edek for one, dek in found if one.dek != dek)


class _Client:
    """One keep-alive connection to each proxy."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._open: dict[int, http.client.HTTPConnection] = {}

    def post(self, port: int, route: str, body: dict[str, Any]) -> tuple[int, Any]:
        """(0, None) when no whole answer came."""
        connection = self._open.get(port)
        if connection is None:
            connection = self._open[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=self._timeout)
        try:
            connection.request(
                "POST", f"/api/1/{route}", json.dumps(body).encode(), {"Authorization": f"cmk {API_KEY}"}
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self._open.pop(port).close()
            return 0, None

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()
