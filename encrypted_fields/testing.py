"""A tenant security proxy in memory, for the tests of those who use the fields. Real cryptography, no network."""

from __future__ import annotations

import hmac
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import models

from encrypted_fields import client, index_keys
from encrypted_fields.ciphertext import ciphertext_for
from encrypted_fields.core import envelope, protobuf
from encrypted_fields.core.client_sealed import shape_of, shape_of_file
from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    CmkError,
    InvalidCiphertext,
    InvalidEdek,
    KmsConfigDisabled,
    KmsRefused,
    KmsUnwrapFailed,
    UnknownTenant,
)
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import Derived, DerivedKey, Metadata, Uses, WrappedKey
from encrypted_fields.core.stream import read_header
from encrypted_fields.fields.ranged import open_stored

stored_bytes = ciphertext_for
CONFIG = 1  # the number of every tenant's only key configuration


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the proxy saw it: `route` is wrap, unwrap, batch_wrap, batch_unwrap, rekey, batch_rekey,
    report_operations or security_event; `count` its keys, or the uses reported; `event` a security event's name."""

    route: str
    about: Metadata
    count: int
    event: str = ""


class MemoryTsp:
    """`with MemoryTsp() as tsp:` every field in this process uses it. `tsp.calls` shows what was asked.

    Any tenant exists unless `tenants` names those that do. The keys are lost with the object.
    """

    def __init__(self, tenants: Sequence[str] | None = None) -> None:
        self.calls: list[Call] = []
        self.failing: CmkError | None = None  # raised by every call while set: an unreachable proxy, for one
        self._known = None if tenants is None else set(tenants)
        self._keys: dict[str, AESGCM] = {}
        self._revoked: set[str] = set()
        self._secrets: dict[tuple[str, str, str], list[tuple[int, bytes]]] = {}  # the current one first
        self._numbers = count(1)

    @property
    def events(self) -> list[Call]:
        """The security events, as the tenants' audit trails have them."""
        return [call for call in self.calls if call.event]

    def revoke(self, tenant: str) -> None:
        """The customer withdraws access to its key."""
        self._revoked.add(tenant)

    def restore(self, tenant: str) -> None:
        self._revoked.discard(tenant)

    def wrap(self, about: Metadata) -> WrappedKey:
        self._note("wrap", about, 1)
        return self._wrap(about.tenant)

    def unwrap(self, about: Metadata, edek: bytes) -> bytearray:
        self._note("unwrap", about, 1)
        return self._unwrap(about.tenant, edek)

    def batch_wrap(self, about: Metadata, count: int) -> list[WrappedKey | CmkError]:
        self._note("batch_wrap", about, count)
        return [self._wrap(about.tenant) for _ in range(count)]

    def batch_unwrap(self, about: Metadata, edeks: Sequence[bytes]) -> list[bytearray | CmkError]:
        self._note("batch_unwrap", about, len(edeks))
        found: list[bytearray | CmkError] = []
        for edek in edeks:
            try:
                found.append(self._unwrap(about.tenant, edek))
            except CmkError as error:
                found.append(error)
        return found

    def rekey(self, about: Metadata, edek: bytes, new_tenant: str) -> WrappedKey:
        self._note("rekey", about, 1)
        dek = self._unwrap(about.tenant, edek)
        try:
            return self._wrap(new_tenant, bytes(dek))
        finally:
            wipe(dek)

    def batch_rekey(self, about: Metadata, edeks: Sequence[bytes], new_tenant: str) -> list[bytes | CmkError]:
        self._note("batch_rekey", about, len(edeks))
        found: list[bytes | CmkError] = []
        for edek in edeks:
            try:
                dek = self._unwrap(about.tenant, edek)
                made = self._wrap(new_tenant, bytes(dek))
            except CmkError as error:
                found.append(error)
                continue
            wipe(dek)
            wipe(made.dek)
            found.append(made.edek)
        return found

    def derive(self, about: Metadata, paths: Mapping[str, Sequence[str]], kind: str) -> Derived:
        self._note("derive", about, sum(map(len, paths.values())))
        if about.tenant in self._revoked:
            raise KmsRefused
        return Derived(
            True,
            {
                secret: {path: self._derived(about.tenant, kind, secret, path) for path in paths[secret]}
                for secret in paths
            },
        )

    def begin_rotation(self, tenant: str, kind: str = "search", path: str = index_keys.SECRET) -> None:
        """The tenant secret of this type and path gets a successor; both answer until `commit_rotation`."""
        self._secret(tenant, kind, path).insert(0, (next(self._numbers), os.urandom(32)))

    def commit_rotation(self, tenant: str, kind: str = "search", path: str = index_keys.SECRET) -> None:
        """Only the newest secret answers from now on."""
        del self._secret(tenant, kind, path)[1:]

    def report_operations(self, about: Metadata, uses: Mapping[bytes, Uses]) -> None:
        self._note("report_operations", about, sum(map(sum, uses.values())))

    def security_event(self, about: Metadata, event: str) -> None:
        self._note("security_event", about, 0, event)

    def __enter__(self) -> Self:
        client.install(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        client.uninstall(self)

    def _note(self, route: str, about: Metadata, count: int, event: str = "") -> None:
        self.calls.append(Call(route, about, count, event))
        if self.failing is not None:
            raise self.failing
        if self._known is not None and about.tenant not in self._known:
            raise UnknownTenant

    def _secret(self, tenant: str, kind: str, path: str) -> list[tuple[int, bytes]]:
        return self._secrets.setdefault((tenant, kind, path), [(next(self._numbers), os.urandom(32))])

    def _derived(self, tenant: str, kind: str, secret: str, path: str) -> list[DerivedKey]:
        found = self._secret(tenant, kind, secret)
        message = f"{tenant}-{path}".encode()
        return [
            DerivedKey(number, bytearray(hmac.digest(key, message, "sha512")), (number, key) == found[0])
            for number, key in found
        ]

    def _wrap(self, tenant: str, dek: bytes | None = None) -> WrappedKey:
        if tenant in self._revoked:
            raise KmsRefused
        dek, nonce = dek or os.urandom(32), os.urandom(12)
        key = self._keys.setdefault(tenant, AESGCM(AESGCM.generate_key(256)))
        inner = protobuf.length(1, nonce + key.encrypt(nonce, dek, _context(tenant))) + protobuf.varint(2, CONFIG)
        return WrappedKey(bytearray(dek), protobuf.length(1, inner))

    def _unwrap(self, tenant: str, edek: bytes) -> bytearray:
        if tenant in self._revoked:
            raise KmsRefused
        try:
            ((number, inner),) = protobuf.fields(edek)
            members = dict(protobuf.fields(inner if isinstance(inner, bytes) else b""))
        except ValueError:
            number, members = 0, {}
        data, config = members.get(1), members.get(2)
        if number != 1 or members.keys() - {6} != {1, 2} or not isinstance(data, bytes) or not isinstance(config, int):
            raise InvalidEdek
        if config != CONFIG or members.get(6, tenant.encode()) != tenant.encode():  # documents stamp their tenant
            raise KmsConfigDisabled
        try:
            dek = self._keys[tenant].decrypt(data[:12], data[12:], _context(tenant))
        except (InvalidTag, KeyError):
            dek = None
        if dek is None:
            raise KmsUnwrapFailed
        return bytearray(dek)


@contextmanager
def counted(tsp: MemoryTsp) -> Iterator[list[Call]]:
    """The calls made inside the block."""
    start, found = len(tsp.calls), list[Call]()
    try:
        yield found
    finally:
        found.extend(tsp.calls[start:])


def assert_encrypted(obj: models.Model, field: str) -> None:
    """AssertionError unless what is stored is sealed, under a tenant's key or in the browser. Of a file field it is the
    file in its Storage that counts. Nothing stored is fine."""
    if isinstance(obj._meta.get_field(field), models.FileField):
        file = getattr(obj, field)
        if not file:
            return
        with open_stored(file.storage, str(file.name)) as source:
            sealed = _reads(lambda: read_header(source)) or _reads(
                lambda: shape_of_file(source, source.seek(0, io.SEEK_END))
            )
    else:
        stored = ciphertext_for(obj, field)
        if stored is None:
            return
        sealed = _reads(lambda: envelope.parse(stored)) or _reads(lambda: shape_of(stored))
    if not sealed:
        raise AssertionError(f"{obj._meta.label}.{field} is stored in clear")


def _reads(reader: Callable[[], object]) -> bool:
    try:
        reader()
    except InvalidCiphertext:
        return False
    return True


def _context(tenant: str) -> bytes:
    return KeyContext("memory", tenant, CONFIG, "dek").aad()
