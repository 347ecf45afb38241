"""Tenant secrets and the keys derived from them: deterministic fields, search, vectors. docs/wire.md."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    CmkError,
    InvalidEdek,
    InvalidRequest,
    KmsConfigDisabled,
    KmsUnwrapFailed,
    NoPrimaryKms,
    SecretCreationFailed,
)
from encrypted_fields.core.memory import wipe
from tsp import edek, wire
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.keyring import Keyring
from tsp.ports import Directory, Kms, Tenant
from tsp.witness import Witness

SECRET_TYPES = ("deterministic", "vector", "search")
MAX_KEYS = 20_000
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One tenant secret: `wrapped` is an `EncryptedDeks` with purpose "secret"; ids are 1 to 2^32-1, never reused."""

    id: int
    wrapped: bytes
    current: bool


class SecretStore(Protocol):
    """Holds wrapped secrets only. A secret belongs to (tenant, type, path); archived ones are not given out."""

    async def find(self, tenant: str, kind: str, path: str) -> Sequence[StoredSecret]:
        """The current one first, then those in rotation; empty when there is none yet."""
        ...

    async def create(self, tenant: str, kind: str, path: str, wrapped: bytes) -> Sequence[StoredSecret]:
        """Keep `wrapped` as the current one unless a faster one is there; what is there then, as `find` gives it."""
        ...


def derived_key(secret: bytes | bytearray, tenant: str, path: str) -> bytes:
    """64 bytes: HMAC-SHA512 of `tenant-path`. The secret path and type choose the secret and are not hashed."""
    return hmac.digest(secret, f"{tenant}-{path}".encode(), "sha512")


class Derivation:
    """The derive route. A secret is made when it is first asked for."""

    def __init__(self, directory: Directory, keyring: Keyring, store: SecretStore, witness: Witness) -> None:
        self._directory = directory
        self._keyring = keyring
        self._store = store
        self._witness = witness

    async def derive(self, request: wire.Derive, ray: str) -> wire.DeriveReply:
        """Each asked combination of secret path and derivation path; the current key first."""
        if request.derivation_type != "sha512":
            raise InvalidRequest("'derivationType' must be sha512")
        if request.secret_type not in SECRET_TYPES:
            raise InvalidRequest(f"'secretType' must be one of {', '.join(SECRET_TYPES)}")
        if sum(map(len, request.paths.values())) > MAX_KEYS:
            raise InvalidRequest(f"'paths' asks for more than {MAX_KEYS} keys")
        tenant = self._directory.tenant(request.tenant_id)
        try:
            primary: Kms | None = tenant.primary()
        except NoPrimaryKms:
            primary = None  # what exists is still derived
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(path: str) -> tuple[dict[str, list[wire.DerivedKey]], list[AuditEvent]]:
            async with slots:
                return await self._path(tenant, primary, request, ray, path)

        try:
            done = await asyncio.gather(*(one(path) for path in request.paths))
        except CmkError as error:
            await self._witness.record([self._witness.failed(tenant, request, ray, events.DERIVE, error)])
            raise
        await self._witness.record([event for _, told in done for event in told])
        return wire.DeriveReply(primary is not None, dict(zip(request.paths, (keys for keys, _ in done), strict=True)))

    async def _path(
        self, tenant: Tenant, primary: Kms | None, request: wire.Derive, ray: str, path: str
    ) -> tuple[dict[str, list[wire.DerivedKey]], list[AuditEvent]]:
        wanted = dict.fromkeys(request.paths[path])
        keys: dict[str, list[wire.DerivedKey]] = {name: [] for name in wanted}
        told = []
        for stored in await self._secrets(tenant, primary, request.secret_type, path):
            parsed = edek.parse(stored.wrapped, tenant.name)
            kms = tenant.kms_for(parsed.config)
            secret = await self._keyring.unwrap(tenant, kms, parsed.content, _context(tenant, kms))
            for name in wanted:
                keys[name].append(wire.DerivedKey(derived_key(secret, tenant.name, name), stored.id, stored.current))
            wipe(secret)
            mark = edek.fingerprint(parsed.content)
            told.append(self._witness.derived(tenant, request, ray, parsed.config, mark, len(wanted)))
        return keys, told

    async def _secrets(self, tenant: Tenant, primary: Kms | None, kind: str, path: str) -> Sequence[StoredSecret]:
        found = await self._store.find(tenant.name, kind, path)
        if found:
            return found
        if primary is None:
            raise SecretCreationFailed(
                "the tenant secret does not exist, and without a primary KMS config none is made"
            )
        secret = bytearray(os.urandom(32))
        context = _context(tenant, primary)
        try:
            content = await self._keyring.wrap(tenant, primary, secret, context)
            wipe(
                await self._keyring.unwrap(tenant, primary, content, context)
            )  # a secret that does not open is not kept
        except (KmsUnwrapFailed, InvalidEdek, KmsConfigDisabled):
            content = b""
        finally:
            wipe(secret)
        if not content:
            raise SecretCreationFailed
        return await self._store.create(tenant.name, kind, path, edek.serialize(primary.config, content))


def _context(tenant: Tenant, kms: Kms) -> KeyContext:
    return KeyContext(tenant.vendor, tenant.name, kms.config, "secret")
