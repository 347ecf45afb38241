"""The proxy's client: stdlib HTTP, one kept-alive connection a thread, two time limits, no redirects, no proxies."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from django.core.signals import setting_changed

from encrypted_fields.conf import Conf, conf
from encrypted_fields.core import protocol
from encrypted_fields.core.errors import CmkError, TspUnreachable
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import BadReply, Derived, Metadata, NoSuchRoute, Uses, WrappedKey

MAX_REPLY = 16 * 1024 * 1024
_NO_BATCH_REKEY = (
    "the proxy at CMK_TSP_URL has no document/batch-rekey, an extension of ours that IronCore's proxy does not know "
    "(docs/wire.md section 7): bring the proxy up to date, or rekey with --one-by-one, a call for each key"
)
_BROKEN = (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest)


class KeyService(Protocol):
    """What the fields need of a proxy. Whole-request failures raise; failures of one key are in its place."""

    def wrap(self, about: Metadata) -> WrappedKey: ...

    def unwrap(self, about: Metadata, edek: bytes) -> bytearray: ...

    def batch_wrap(self, about: Metadata, count: int) -> Sequence[WrappedKey | CmkError]: ...

    def batch_unwrap(self, about: Metadata, edeks: Sequence[bytes]) -> Sequence[bytearray | CmkError]: ...

    def rekey(self, about: Metadata, edek: bytes, new_tenant: str) -> WrappedKey: ...

    def batch_rekey(self, about: Metadata, edeks: Sequence[bytes], new_tenant: str) -> Sequence[bytes | CmkError]: ...

    def report_operations(self, about: Metadata, uses: Mapping[bytes, Uses]) -> None: ...

    def security_event(self, about: Metadata, event: str) -> None: ...


class TspClient:
    """A KeyService over HTTP. Safe in threads and after fork: connections belong to one thread of one process."""

    def __init__(self, settings: Conf) -> None:
        parts = urlsplit(settings.tsp_url)
        self._settings = settings
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = ssl.create_default_context(cafile=settings.ca_file) if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/") + protocol.PREFIX
        self._local = threading.local()

    def wrap(self, about: Metadata) -> WrappedKey:
        return protocol.wrapped(self._call(protocol.WRAP, about.body()))

    def unwrap(self, about: Metadata, edek: bytes) -> bytearray:
        return protocol.dek(self._call(protocol.UNWRAP, protocol.unwrap_body(about, edek)))

    def batch_wrap(self, about: Metadata, count: int) -> list[WrappedKey | CmkError]:
        ids = [str(number) for number in range(count)]
        keys, failures = protocol.batch(self._call(protocol.BATCH_WRAP, protocol.batch_wrap_body(about, ids)), ids)
        found: list[WrappedKey | CmkError] = []
        try:
            for name in ids:
                found.append(failures[name] if name in failures else protocol.wrapped(keys[name]))
        except BadReply:
            _wipe_all(found)
            raise
        return found

    def batch_unwrap(self, about: Metadata, edeks: Sequence[bytes]) -> list[bytearray | CmkError]:
        named = {str(number): edek for number, edek in enumerate(edeks)}
        reply = self._call(protocol.BATCH_UNWRAP, protocol.batch_unwrap_body(about, named))
        keys, failures = protocol.batch(reply, named)
        found: list[bytearray | CmkError] = []
        try:
            for name in named:
                found.append(failures[name] if name in failures else protocol.dek(keys[name]))
        except BadReply:
            _wipe_all(found)
            raise
        return found

    def rekey(self, about: Metadata, edek: bytes, new_tenant: str) -> WrappedKey:
        """The key of an EDEK, wrapped anew for `new_tenant`, which may be the same one. The old EDEK stays usable."""
        return protocol.wrapped(self._call(protocol.REKEY, protocol.rekey_body(about, edek, new_tenant)))

    def batch_rekey(self, about: Metadata, edeks: Sequence[bytes], new_tenant: str) -> list[bytes | CmkError]:
        """The new EDEK of each, in one call; the keys themselves stay in the proxy. At most 20,000.

        NoSuchRoute where the proxy does not know this extension of ours, as IronCore's does not.
        """
        named = {str(number): edek for number, edek in enumerate(edeks)}
        reply = self._call(protocol.BATCH_REKEY, protocol.batch_rekey_body(about, named, new_tenant))
        keys, failures = protocol.batch(reply, named)
        return [failures[name] if name in failures else protocol.edek(keys[name]) for name in named]

    def derive(self, about: Metadata, paths: Mapping[str, Sequence[str]], kind: str) -> Derived:
        """Keys made of the tenant's secrets: `paths` are derivation paths by secret path, `kind` the secrets' type."""
        return protocol.derived(self._call(protocol.DERIVE, protocol.derive_body(about, paths, kind)), paths)

    def report_operations(self, about: Metadata, uses: Mapping[bytes, Uses]) -> None:
        """Uses of keys that this process kept, by EDEK, at most 1,000 of them. Returns when the trail has them."""
        self._exchange(protocol.REPORT_OPERATIONS, protocol.report_body(about, uses))

    def security_event(self, about: Metadata, event: str) -> None:
        """One event for the tenant's audit trail, happening now. Returns when the trail has it."""
        self._exchange(protocol.SECURITY_EVENT, protocol.event_body(about, event, time.time()))

    def _call(self, route: str, body: dict[str, Any]) -> Any:
        return _json(self._exchange(route, body))

    def _exchange(self, route: str, body: dict[str, Any]) -> bytes:
        """The reply. One second try: on a kept connection that the proxy had closed, or after "try again"."""
        deadline = time.monotonic() + self._settings.total_seconds
        data = json.dumps(body, separators=(",", ":")).encode()
        failure: CmkError = TspUnreachable()
        for attempt in (1, 2):
            fresh = attempt == 2 or not self._has_connection()
            try:
                status, reply = self._send(route, data, deadline, fresh=fresh)
            except TimeoutError:
                failure = TspUnreachable("the tenant security proxy did not answer in time")
                break
            except (OSError, http.client.HTTPException) as broken:
                failure = TspUnreachable()
                if fresh or not isinstance(broken, _BROKEN):
                    break
                continue
            if 200 <= status < 300:
                return reply
            failure = protocol.error(_json_or_none(reply), status) if status != 404 else _unknown(route)
            if not failure.retryable or attempt == 2:
                break
            pause = random.uniform(0.02, 0.1)  # noqa: S311 - spreads load, hides nothing
            if time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
        raise failure  # outside the except blocks, so that no request rides along

    def _has_connection(self) -> bool:
        kept: _Kept | None = getattr(self._local, "kept", None)
        return kept is not None and kept.pid == os.getpid()

    def _send(self, route: str, data: bytes, deadline: float, *, fresh: bool) -> tuple[int, bytes]:
        if fresh:
            self._connect(deadline)
        connection = self._local.kept.connection
        headers = {
            "Authorization": f"cmk {self._settings.api_key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        kept = False
        try:
            _limit(connection, deadline)
            connection.request("POST", self._base + route, data, headers)
            response = connection.getresponse()
            reply = bytearray()
            while part := response.read1(65_536):  # one receive at a time: `read` would wait for all, past the limit
                reply += part
                if len(reply) > MAX_REPLY:
                    raise http.client.HTTPException("the reply is too long")
                _limit(connection, deadline)
            if response.length:
                raise http.client.HTTPException("the reply is cut")
            response.close()
            kept = not response.will_close
            return response.status, bytes(reply)
        finally:
            if not kept:
                connection.close()
                self._local.kept = None

    def _connect(self, deadline: float) -> None:
        self._local.kept = None
        seconds = min(self._settings.connect_seconds, _left(deadline))
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=self._tls)
        kept = _Kept(connection)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._local.kept = kept


class _Kept:
    """A connection of one thread of one process, closed when nobody holds it. Closing sends no TLS goodbye, so that a
    forked child may let go of its parent's."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection, self.pid = connection, os.getpid()
        # not __del__: in a cycle the socket could be finalized before it is closed
        weakref.finalize(self, connection.close)


def _unknown(route: str) -> CmkError:
    return NoSuchRoute(_NO_BATCH_REKEY if route == protocol.BATCH_REKEY else None)


_client: KeyService | None = None
_installed: list[KeyService] = []


def current() -> KeyService:
    """The service that seals and opens in this process: one that a test installed, else the configured proxy."""
    global _client
    if _installed:
        return _installed[-1]
    if _client is None:
        _client = TspClient(conf())
    return _client


def install(service: KeyService) -> None:
    """For tests (encrypted_fields.testing): `service` instead of the proxy until `uninstall`."""
    _installed.append(service)


def uninstall(service: KeyService) -> None:
    _installed.remove(service)


def _forget(*, setting: str, **_: Any) -> None:
    global _client
    if setting.startswith("CMK_"):
        _client = None


setting_changed.connect(_forget, dispatch_uid="encrypted_fields.client")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _limit(connection: http.client.HTTPConnection, deadline: float) -> None:
    seconds = _left(deadline)
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def _json(reply: bytes) -> Any:
    found = _json_or_none(reply)
    if found is None:
        raise BadReply
    return found


def _json_or_none(reply: bytes) -> Any:
    # Never quote the reply: it may hold a key.
    try:
        return json.loads(reply)
    except ValueError:
        return None


def _wipe_all(found: Sequence[WrappedKey | bytearray | CmkError]) -> None:
    for one in found:
        if isinstance(one, WrappedKey):
            wipe(one.dek)
        elif isinstance(one, bytearray):
            wipe(one)
