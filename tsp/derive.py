"""Tenant secrets and the keys derived from them: deterministic fields, search, vectors. docs/wire.md."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
from tsp.contract import events, secrets
from tsp.held import Held
from tsp.keyring import Keyring
from tsp.one_at_a_time import OneAtATime
from tsp.ports import Directory, Kms, Tenant
from tsp.witness import Witness

MAX_KEYS = 20_000
_AT_ONCE = 8
_log = logging.getLogger(__name__)
Taken = tuple[dict[str, list[wire.DerivedKey]], list[tuple[Held, int]]]


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One tenant secret: `wrapped` is an `EncryptedDeks` with purpose "secret"; ids are 1 to 2^32-1, never reused."""

    id: int
    wrapped: bytes
    current: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What there is in one place. `wanting`: none, or a rotation has begun and nobody has made the next one yet."""

    secrets: Sequence[StoredSecret]
    wanting: bool


class SecretStore(Protocol):
    """Holds wrapped secrets only. A secret belongs to (tenant, type, path); archived ones are not given out."""

    async def find(self, tenant: str, kind: str, path: str) -> Found:
        """The one to encrypt with first, the only one with `current`, then the other in a rotation."""
        ...

    async def create(self, tenant: str, kind: str, path: str, config: int, wrapped: bytes) -> Found:
        """Keep `wrapped`, an EDEK of `config`, as the next one unless a faster one is there; then what `find` gives."""
        ...


def derived_key(secret: bytes | bytearray, tenant: str, path: str) -> bytes:
    """64 bytes: HMAC-SHA512 of `tenant-path`. The secret path and type choose the secret and are not hashed."""
    return hmac.digest(secret, f"{tenant}-{path}".encode(), "sha512")


class Derivation:
    """The derive route. A secret is made when it is first asked for, and again after a rotation has begun."""

    def __init__(self, directory: Directory, keyring: Keyring, store: SecretStore, witness: Witness) -> None:
        self._directory = directory
        self._keyring = keyring
        self._store = store
        self._witness = witness
        self._making: OneAtATime[tuple[str, str, str], Found] = OneAtATime()

    async def derive(self, request: wire.Derive, ray: str) -> wire.DeriveReply:
        """Each asked combination of secret path and derivation path; the current key first."""
        _check(request)
        tenant = self._directory.tenant(request.tenant_id)
        try:
            primary: Kms | None = tenant.primary()
        except NoPrimaryKms:
            primary = None  # what exists is still derived
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(path: str) -> Taken:
            async with slots:
                return await self._path(tenant, primary, request, path)

        try:
            done = await asyncio.gather(*(one(path) for path in request.paths))
            taken = [each for _, used in done for each in used]
            await self._witness.record(
                [self._witness.derived(tenant, request, ray, held, count) for held, count in taken]
            )
            for held, _ in taken:
                self._keyring.release(held.grip)  # the tenant may have said no while the events became durable
        except CmkError as error:
            await self._witness.record([self._witness.failed(tenant, request, ray, events.DERIVE, error)])
            raise
        return wire.DeriveReply(primary is not None, dict(zip(request.paths, (keys for keys, _ in done), strict=True)))

    async def _path(self, tenant: Tenant, primary: Kms | None, request: wire.Derive, path: str) -> Taken:
        wanted, kind = dict.fromkeys(request.paths[path]), request.secret_type
        place = secrets.place_of(kind, path)
        keys: dict[str, list[wire.DerivedKey]] = {name: [] for name in wanted}
        taken = []
        for stored in await self._secrets(tenant, primary, kind, path):
            parsed = edek.parse(stored.wrapped, tenant.name)
            held = await self._keyring.open(tenant, tenant.kms_for(parsed.config), parsed, place=place)
            for name in wanted:
                keys[name].append(wire.DerivedKey(derived_key(held.dek, tenant.name, name), stored.id, stored.current))
            _forget(held)
            taken.append((held, len(wanted)))
        return keys, taken

    async def _secrets(self, tenant: Tenant, primary: Kms | None, kind: str, path: str) -> Sequence[StoredSecret]:
        found = await self._store.find(tenant.name, kind, path)
        if found.wanting and primary is not None:
            try:
                found = await self._make(tenant, primary, kind, path)
            except CmkError as error:
                if not found.secrets:
                    raise
                # the one in rotation still encrypts and decrypts; the next request tries again
                _log.warning("a rotation waits for its new secret", extra={"tenant": tenant.name, "code": error.code})
        if not found.secrets:
            raise SecretCreationFailed("there is no such tenant secret, and without a primary KMS config none is made")
        return found.secrets

    async def _make(self, tenant: Tenant, primary: Kms, kind: str, path: str) -> Found:
        """One attempt at a time for each place: a thousand first requests make one secret."""
        return await self._making((tenant.name, kind, path), lambda: self._create(tenant, primary, kind, path))

    async def _create(self, tenant: Tenant, primary: Kms, kind: str, path: str) -> Found:
        place, fresh, same = secrets.place_of(kind, path), bytearray(os.urandom(32)), False
        try:
            made = await self._keyring.make(tenant, primary, fresh, place=place)
            opened = await self._keyring.open(tenant, primary, edek.parse(made.edek, tenant.name), place=place)
            same = hmac.compare_digest(opened.dek, fresh)  # a secret that does not open is not kept
            _forget(opened)
        except (KmsUnwrapFailed, InvalidEdek, KmsConfigDisabled):
            same = False
        finally:
            wipe(fresh)
        if not same:
            raise SecretCreationFailed
        return await self._store.create(tenant.name, kind, path, primary.config, made.edek)


def _check(request: wire.Derive) -> None:
    if request.derivation_type != "sha512":
        raise InvalidRequest("'derivationType' must be sha512")
    if request.secret_type not in secrets.TYPES:
        raise InvalidRequest(f"'secretType' must be one of {', '.join(secrets.TYPES)}")
    if sum(map(len, request.paths.values())) > MAX_KEYS:
        raise InvalidRequest(f"'paths' asks for more than {MAX_KEYS} keys")
    if not all(map(secrets.is_path, request.paths)):
        raise InvalidRequest("a secret path must not hold U+0000")


def _forget(held: Held) -> None:
    """What is left of the key is its event and its release; a leased one came as bytes, which Python cannot wipe."""
    if isinstance(held.dek, bytearray):
        wipe(held.dek)
    held.dek = b""
