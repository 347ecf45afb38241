"""A key service of tenants that speaks AWS KMS over HTTP, with real AES-GCM; told how to fail, and it keeps a log."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.errors import InvalidCiphertext
from tsp.contract.tenant import KmsBody, Leasing

OK, REFUSE, DISABLED, THROTTLE, BROKEN, HANG, CUT, FIREWALL = MODES = (
    "ok", "refuse", "disabled", "throttle", "broken", "hang", "cut", "firewall",
)  # fmt: skip
EXPIRED = "expired"
NO = {REFUSE, DISABLED, FIREWALL, EXPIRED}  # a firewall's bare 403 is asked about once more, and then believed
REGION = "eu-central-1"
SECRET = "the-secret-access-key-of-the-double"
_ERRORS: dict[str, tuple[int, str, str]] = {
    REFUSE: (400, "AccessDeniedException", "User is not authorized"),
    EXPIRED: (400, "ExpiredTokenException", "The security token included in the request is expired"),
    DISABLED: (400, "DisabledException", "is disabled"),
    THROTTLE: (400, "ThrottlingException", "Rate exceeded"),
    BROKEN: (500, "KMSInternalException", "try later"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of `key`. `answered` is when the reply left (CLOCK_BOOTTIME), `blob` what was made or opened, `plain`
    the key in it.
    """

    key: str
    operation: str
    came: float
    answered: float
    mode: str
    fine: bool
    blob: bytes
    plain: bytes = field(repr=False)
    context: dict[str, str]


class AwsKmsDouble:
    """Running at `port` for any number of keys, each made when first named. `tell` it what a key does from now on.

    Access keys in `expired` are not accepted any more.
    """

    def __init__(self) -> None:
        self.log: list[Asked] = []
        self.most: dict[str, int] = {}  # by key, how many calls were in it at the same time at most
        self.busiest = 0  # the same of all keys together
        self.delay = 0.0  # seconds that every call takes
        self.expired: set[str] = set()
        self._modes: dict[str, str] = {}
        self._keys: dict[str, tuple[bytes, ValueKey]] = {}
        self._inside: dict[str, int] = {}
        self._lock = threading.Lock()
        self._released = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    self.close_connection = True  # the connection broke
                    return
                double._answer(self, self.headers["X-Amz-Target"].rpartition(".")[2], json.loads(body))

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True  # a client that was killed

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket.listen(200)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def tell(self, key: str, mode: str) -> None:
        self._modes[key] = mode

    def mode(self, key: str) -> str:
        return self._modes.get(key, OK)

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, operation: str, body: dict[str, Any]) -> None:
        context = body.get("EncryptionContext") or {}
        key, came = str(body["KeyId"]).rpartition("/")[2], _boot()
        with self._counted(key):  # until the reply leaves: who has it may ask again at once
            mode = EXPIRED if self._expired(handler) else self.mode(key)
            if self.delay:
                time.sleep(self.delay)
            status, reply, blob, plain = self._reply(mode, key, operation, body)
            if mode == HANG:
                self._hang(handler.connection)
            self.log.append(Asked(key, operation, came, _boot(), mode, status == 200, blob, plain, context))
        if mode in (CUT, HANG):
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.send_response(status)
        handler.send_header("Content-Type", "application/x-amz-json-1.1")
        handler.send_header("Content-Length", str(len(reply)))
        handler.end_headers()
        handler.wfile.write(reply)

    @contextmanager
    def _counted(self, key: str) -> Iterator[None]:
        with self._lock:
            self._inside[key] = self._inside.get(key, 0) + 1
            self.most[key] = max(self.most.get(key, 0), self._inside[key])
            self.busiest = max(self.busiest, sum(self._inside.values()))
        try:
            yield
        finally:
            with self._lock:
                self._inside[key] -= 1

    def _expired(self, handler: BaseHTTPRequestHandler) -> bool:
        credential = handler.headers["Authorization"].partition("Credential=")[2]
        return credential.partition("/")[0] in self.expired

    def _hang(self, connection: socket.socket) -> None:
        """Until the other side has had enough."""
        while not self._released.is_set():
            if select.select([connection], [], [], 0.05)[0] and not connection.recv(1, socket.MSG_PEEK):
                return

    def _reply(self, mode: str, key: str, operation: str, body: dict[str, Any]) -> tuple[int, bytes, bytes, bytes]:
        """Status, body, blob and the key in it."""
        blob = base64.b64decode(body.get("CiphertextBlob", ""))
        if mode == FIREWALL:
            return 403, b"<html>blocked</html>", blob, b""
        if mode in _ERRORS:
            status, code, message = _ERRORS[mode]
            return status, json.dumps({"__type": code, "message": message}).encode(), blob, b""
        if mode != OK:
            return 0, b"", blob, b""
        name, secret = self._key(key)
        aad = json.dumps(body.get("EncryptionContext") or {}, sort_keys=True).encode()
        if operation == "Encrypt":
            plain = base64.b64decode(body["Plaintext"])
            blob = name + secret.seal(plain, aad)
            return 200, _reply_with(body, CiphertextBlob=blob), blob, plain
        try:
            if blob[:32] != name:
                raise InvalidCiphertext
            plain = secret.open(blob[32:], aad)
        except InvalidCiphertext:
            return 400, b'{"__type":"InvalidCiphertextException"}', blob, b""
        return 200, _reply_with(body, Plaintext=plain), blob, plain

    def _key(self, name: str) -> tuple[bytes, ValueKey]:
        with self._lock:
            if name not in self._keys:
                self._keys[name] = hashlib.sha256(name.encode()).digest(), ValueKey(os.urandom(32))
            return self._keys[name]


def body_for(
    key: str,
    port: int,
    *,
    leasing: Leasing = Leasing(),  # noqa: B008  frozen
    access_key: str = "AKIATESTTESTTESTTEST",
) -> KmsBody:
    """What a tenant seals to use `key` of the double that is reached at `port` of the loopback."""
    options = {
        "key_arn": f"arn:aws:kms:{REGION}:111122223333:key/{key}",
        "region": REGION,
        "access_key_id": access_key,
        "secret_access_key": SECRET,
        "endpoint_url": f"http://127.0.0.1:{port}",
    }
    return KmsBody("aws", options, leasing=leasing)


@contextmanager
def aws_kms() -> Iterator[AwsKmsDouble]:
    """For the `with` statement and for fixtures."""
    double = AwsKmsDouble()
    try:
        yield double
    finally:
        double.stop()


def _reply_with(body: dict[str, Any], **members: bytes) -> bytes:
    told = {name: base64.b64encode(value).decode() for name, value in members.items()}
    return json.dumps({**told, "KeyId": body["KeyId"]}).encode()


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
