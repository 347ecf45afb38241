"""A key service in memory that can all that documents ask for, with real AES-GCM EDEKs in the proxy's protobuf."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encrypted_fields.core import protobuf
from encrypted_fields.core.errors import CmkError, InvalidEdek, KmsRefused, KmsUnwrapFailed
from encrypted_fields.core.protocol import Derived, DerivedKey, Metadata, WrappedKey

CONFIG = 1023


class Keys:
    """Tenants a and b. `calls` holds (route, number of keys); `deks` the buffers given out, to see them wiped."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.deks: list[bytearray] = []
        self.revoked: set[str] = set()
        self.failing: dict[int, CmkError] = {}  # position in a batch → its error
        self.has_primary = True
        self.secrets = {5001: True}  # number → whether it is the current one
        self.config = CONFIG
        self._keys = {name: AESGCM(os.urandom(32)) for name in ("a", "b")}

    def wrap(self, about: Metadata) -> WrappedKey:
        self.calls.append(("wrap", 1))
        return self._wrap(about.tenant, os.urandom(32))

    def unwrap(self, about: Metadata, edek: bytes) -> bytearray:
        self.calls.append(("unwrap", 1))
        return self._given(self._opened(about.tenant, edek))

    def batch_wrap(self, about: Metadata, count: int) -> list[WrappedKey | CmkError]:
        self.calls.append(("batch_wrap", count))
        return [self.failing.get(number) or self._wrap(about.tenant, os.urandom(32)) for number in range(count)]

    def batch_unwrap(self, about: Metadata, edeks: Sequence[bytes]) -> list[bytearray | CmkError]:
        self.calls.append(("batch_unwrap", len(edeks)))
        found: list[bytearray | CmkError] = []
        for number, edek in enumerate(edeks):
            try:
                found.append(self.failing.get(number) or self._given(self._opened(about.tenant, edek)))
            except CmkError as error:
                found.append(error)
        return found

    def rekey(self, about: Metadata, edek: bytes, new_tenant: str) -> WrappedKey:
        self.calls.append(("rekey", 1))
        return self._wrap(new_tenant, self._opened(about.tenant, edek))

    def derive(self, about: Metadata, paths: Mapping[str, Sequence[str]], kind: str) -> Derived:
        self.calls.append(("derive", 1))

        def keys(secret: str, path: str) -> list[DerivedKey]:
            made = [
                DerivedKey(number, bytearray(self._derived(about.tenant, kind, secret, path, number)), current)
                for number, current in self.secrets.items()
            ]
            self.deks += [key.key for key in made]
            return made

        return Derived(
            self.has_primary,
            {secret: {path: keys(secret, path) for path in derivations} for secret, derivations in paths.items()},
        )

    def _derived(self, *parts: object) -> bytes:
        return hmac.digest(b"secret", repr(parts).encode(), "sha512")

    def _wrap(self, tenant: str, dek: bytes) -> WrappedKey:
        if tenant in self.revoked:
            raise KmsRefused
        nonce = os.urandom(12)
        data = nonce + self._keys[tenant].encrypt(nonce, dek, tenant.encode())
        edek = protobuf.length(1, protobuf.length(1, data) + protobuf.varint(2, self.config))
        return WrappedKey(self._given(dek), edek)

    def _opened(self, tenant: str, edek: bytes) -> bytes:
        if tenant in self.revoked:
            raise KmsRefused
        try:
            ((_, element),) = protobuf.fields(edek)
            data = dict(protobuf.fields(element))[1]  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError):
            raise InvalidEdek from None
        try:
            return self._keys[tenant].decrypt(data[:12], data[12:], tenant.encode())  # type: ignore[index]
        except (InvalidTag, ValueError):
            raise KmsUnwrapFailed from None

    def _given(self, dek: bytes) -> bytearray:
        self.deks.append(bytearray(dek))
        return self.deks[-1]
