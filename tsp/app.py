"""The data plane as an ASGI application: route, key, body, service, reply. No framework."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from encrypted_fields.core import protocol
from encrypted_fields.core.errors import CmkError, InvalidRequest
from encrypted_fields.core.fresh import fresh
from tsp import caps, guard, wire
from tsp.auth import Caller
from tsp.derive import Derivation
from tsp.guard import Guard
from tsp.limits import Rate
from tsp.meter import Durations
from tsp.service import Service

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = Callable[[bytes, str, Caller], Awaitable[bytes]]

_log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_NULL = b"null"  # rule 7: exactly these four bytes
_NOTHING: tuple[tuple[bytes, bytes], ...] = ()
MANY = (
    protocol.BATCH_WRAP,
    protocol.BATCH_UNWRAP,
    protocol.BATCH_REKEY,
    protocol.REPORT_OPERATIONS,
    protocol.DERIVE,
)
OPERATIONS = {  # what an API key must be good for (tsp.guard)
    protocol.WRAP: guard.WRAP,
    protocol.UNWRAP: guard.UNWRAP,
    protocol.BATCH_WRAP: guard.WRAP,
    protocol.BATCH_UNWRAP: guard.UNWRAP,
    protocol.REKEY: guard.REKEY,
    protocol.BATCH_REKEY: guard.REKEY,
    protocol.REPORT_OPERATIONS: guard.REPORT,
    protocol.SECURITY_EVENT: guard.EVENT,
    protocol.DERIVE: guard.DERIVE,
}
_CLIENTS = 50  # versions of client libraries that are counted apart, so that nobody can fill the metrics with names
_LINES = 20  # a second, of requests that failed: a flood must not fill the disk with logs


class NoRoute(InvalidRequest):
    http = 404
    default = "there is no such route: the wire API is POST /api/1/…"


class WrongMethod(InvalidRequest):
    http = 405
    default = "the wire API takes POST only"


class BodyTooLarge(InvalidRequest):
    http = 413
    default = "the request body is too large: send smaller batches"


@dataclass(frozen=True, slots=True)
class Route:
    """`name` is for metrics and logs; `most` is the longest body in bytes."""

    name: str
    most: int
    answer: Answer


class DataPlane:
    """`requests` counts (route, code) for the metrics, code 0 is success; `seconds` has the durations by route."""

    def __init__(self, service: Service, derivation: Derivation, door: Guard) -> None:
        self.guard = door
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, Durations] = {}
        self.clients: Counter[str] = Counter()
        self._lines = Rate(_LINES, _LINES)
        self._routes = _routes(service, derivation, door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("the data plane speaks HTTP only")
        ray = fresh(8).hex()
        began = time.perf_counter()
        path: str = scope["path"]
        route = self._routes.get(path) or self._routes.get(path[1:])  # two clients send //api/1/…
        code, status, unread, more = 0, 200, True, _NOTHING
        try:
            if route is None:
                raise NoRoute
            if scope["method"] != "POST":
                raise WrongMethod
            caller = self._admit(scope, route.most)
            data = await _body(receive, route.most)
            unread = False
            body = await route.answer(data, ray, caller)
        except CmkError as error:
            code, status = error.code, error.http
            body = wire.encode(wire.failure(error))
            wait = getattr(error, "retry_after", None)
            more = ((b"retry-after", b"%d" % (wait + 1)),) if wait else _NOTHING
        except Exception:
            _log.exception("a request failed", extra={"ray_id": ray, "path": path[:100]})
            code, status = 100, 500
            body = wire.encode(wire.failure(CmkError()))
        headers = [_JSON, _NO_STORE, (b"content-length", b"%d" % len(body)), (b"x-ray-id", ray.encode()), *more]
        if unread:
            headers.append((b"connection", b"close"))  # what is left of the request is not going to be read
        self._count(route.name if route else "other", code, status, ray, time.perf_counter() - began)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _admit(self, scope: Scope, most: int) -> Caller:
        """The API key and the announced length, before a byte of the body is read (T-14)."""
        headers = dict(scope["headers"])
        length, language = headers.get(b"content-length", b""), headers.get(b"x-icl-tsc-language", b"")
        address = scope.get("client")
        caller = self.guard.admit(headers.get(b"authorization"), address[0] if address else "")
        if language:
            version = headers.get(b"x-icl-tsc-version", b"")
            client = f"{language[:20].decode('latin-1')} {version[:20].decode('latin-1')}"
            self.clients[client if client in self.clients or len(self.clients) < _CLIENTS else "other"] += 1
        if length.isdigit() and int(length[:20]) > most:
            raise BodyTooLarge
        return caller

    def _count(self, route: str, code: int, status: int, ray: str, seconds: float) -> None:
        self.requests[route, code] += 1
        durations = self.seconds.get(route)
        if durations is None:
            durations = self.seconds[route] = Durations()
        durations.add(seconds)
        if status == 200:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("a request was answered", extra=_line(route, code, status, ray, seconds))
        elif not self._lines.take("", time.monotonic()):
            _log.info("a request was refused", extra=_line(route, code, status, ray, seconds))


async def _body(receive: Receive, most: int) -> bytes:
    message = await receive()
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(first) > most:
            raise BodyTooLarge
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the connection ended before the body did")
        return first
    body = bytearray(first)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the connection ended before the body did")
        body += message.get("body", b"")
        if len(body) > most:
            raise BodyTooLarge
    return bytes(body)


def _line(route: str, code: int, status: int, ray: str, seconds: float) -> dict[str, object]:
    """What the log has of a request; the same ray id is in the reply and in the audit event."""
    return {"path": route, "code": code, "status": status, "ray_id": ray, "milliseconds": round(seconds * 1000, 1)}


def _routes(service: Service, derivation: Derivation, door: Guard) -> dict[str, Route]:
    """By path."""
    made: dict[str, Route] = {}

    def add(name: str, kind: type[wire.Body], call: Callable[[wire.Body, str], Awaitable[object]]) -> None:
        many = name in MANY
        answer = _answers(kind, call, door, OPERATIONS[name], caps.BATCH_STRINGS if many else caps.SINGLE_STRINGS)
        made[protocol.PREFIX + name] = Route(name, caps.BATCH_BYTES if many else caps.SINGLE_BYTES, answer)

    add(protocol.WRAP, wire.Request, service.wrap)
    add(protocol.UNWRAP, wire.Unwrap, service.unwrap)
    add(protocol.BATCH_WRAP, wire.BatchWrap, service.batch_wrap)
    add(protocol.BATCH_UNWRAP, wire.BatchUnwrap, service.batch_unwrap)
    add(protocol.REKEY, wire.Rekey, service.rekey)
    add(protocol.BATCH_REKEY, wire.BatchRekey, service.batch_rekey)
    add(protocol.REPORT_OPERATIONS, wire.ReportOperations, service.report)
    add(protocol.SECURITY_EVENT, wire.SecurityEvent, service.report)
    add(protocol.DERIVE, wire.Derive, derivation.derive)
    return made


def _answers(
    kind: type[wire.Body],
    call: Callable[[wire.Body, str], Awaitable[object]],
    door: Guard,
    operation: str,
    strings: int,
) -> Answer:
    reader, encode = wire.decoder(kind), wire.encode

    async def answer(body: bytes, ray: str, caller: Caller) -> bytes:
        caps.check(body, strings)
        request = wire.decode(reader, body)
        caps.unique(body, wire.members(request))
        refusal = door.problem(caller, operation, request)
        if refusal is not None:
            await door.tell(refusal, request, ray)
            raise refusal.error
        reply = await call(request, ray)
        return _NULL if reply is None else encode(reply)

    return answer
