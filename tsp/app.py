"""The data plane as an ASGI application: route, key, body, service, reply. No framework."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from encrypted_fields.core import protocol
from encrypted_fields.core.errors import CmkError, InvalidRequest
from tsp import wire
from tsp.auth import ApiKeys
from tsp.derive import Derivation
from tsp.service import Service

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = Callable[[bytes, str], Awaitable[bytes]]

_log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_NULL = b"null"  # rule 7: exactly these four bytes


class NoRoute(InvalidRequest):
    http = 404
    default = "there is no such route: the wire API is POST /api/1/…"


class WrongMethod(InvalidRequest):
    http = 405
    default = "the wire API takes POST only"


class BodyTooLarge(InvalidRequest):
    http = 413
    default = "the request body is too large: send smaller batches"


class DataPlane:
    """`requests` counts (route, code) for the metrics; code 0 is success. `seconds` adds up their time by route."""

    def __init__(
        self, service: Service, derivation: Derivation, keys: ApiKeys, *, max_body: int = wire.MAX_BODY
    ) -> None:
        self._keys = keys
        self._max_body = max_body
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.clients: Counter[str] = Counter()
        self._routes = _routes(service, derivation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("the data plane speaks HTTP only")
        ray = os.urandom(8).hex()
        began = time.perf_counter()
        path: str = scope["path"]
        found = self._routes.get(path) or self._routes.get(path[1:])  # two clients send //api/1/…
        code, status = 0, 200
        try:
            if found is None:
                raise NoRoute
            if scope["method"] != "POST":
                raise WrongMethod
            self._admit(scope["headers"])
            body = await found[1](await _body(receive, self._max_body), ray)
        except CmkError as error:
            code, status = error.code, error.http
            body = wire.encode(wire.failure(error))
        except Exception:
            _log.exception("a request failed", extra={"ray_id": ray, "path": path[:100]})
            code, status = 100, 500
            body = wire.encode(wire.failure(CmkError()))
        route = found[0] if found else "other"
        self.requests[route, code] += 1
        self.seconds[route] += time.perf_counter() - began  # type: ignore[assignment]
        headers = [_JSON, _NO_STORE, (b"content-length", b"%d" % len(body)), (b"x-ray-id", ray.encode())]
        if status in (401, 413):
            headers.append((b"connection", b"close"))  # the body was not read, and is not going to be
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _admit(self, headers: list[tuple[bytes, bytes]]) -> None:
        """The API key and the announced length, before a byte of the body is read (T-14)."""
        key, length, language, version = None, b"", b"", b""
        for name, value in headers:
            if name == b"authorization":
                key = value
            elif name == b"content-length":
                length = value
            elif name == b"x-icl-tsc-language":
                language = value
            elif name == b"x-icl-tsc-version":
                version = value
        self._keys.check(key)
        if language and len(self.clients) < 100:
            self.clients[f"{language[:20].decode('latin-1')} {version[:20].decode('latin-1')}"] += 1
        if length.isdigit() and int(length[:20]) > self._max_body:
            raise BodyTooLarge


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


def _routes(service: Service, derivation: Derivation) -> dict[str, tuple[str, Answer]]:
    """Path → (route for the metrics, body and ray id → reply)."""
    made: dict[str, Answer] = {
        protocol.WRAP: _answers(wire.Request, service.wrap),
        protocol.UNWRAP: _answers(wire.Unwrap, service.unwrap),
        protocol.BATCH_WRAP: _answers(wire.BatchWrap, service.batch_wrap),
        protocol.BATCH_UNWRAP: _answers(wire.BatchUnwrap, service.batch_unwrap),
        protocol.REKEY: _answers(wire.Rekey, service.rekey),
        protocol.REPORT_OPERATIONS: _answers(wire.ReportOperations, service.report),
        protocol.SECURITY_EVENT: _answers(wire.SecurityEvent, service.report),
        protocol.DERIVE: _answers(wire.Derive, derivation.derive),
    }
    return {protocol.PREFIX + route: (route, answer) for route, answer in made.items()}


def _answers(kind: type[wire.Body], call: Callable[[wire.Body, str], Awaitable[object]]) -> Answer:
    reader, encode = wire.decoder(kind), wire.encode

    async def answer(body: bytes, ray: str) -> bytes:
        reply = await call(wire.decode(reader, body), ray)
        return _NULL if reply is None else encode(reply)

    return answer
