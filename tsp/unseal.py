"""The proxy's private keys: the only place where a sealed configuration is opened."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from nacl import bindings
from nacl.exceptions import CryptoError

from encrypted_fields.core.memory import SecretBytes
from tsp.contract import sealed

KEY_BYTES = 32
MAX_KEYS = 8


class CannotOpen(Exception):
    """None of the boxes is for one of our keys, or the one that is was changed."""


class PrivateKeys:
    """X25519 private keys in locked memory. Do not print."""

    def __init__(self, keys: Sequence[SecretBytes]) -> None:
        if not 0 < len(keys) <= MAX_KEYS:
            raise ValueError(f"a proxy has 1 to {MAX_KEYS} private keys")
        self._keys: dict[str, tuple[SecretBytes, bytes]] = {}
        for key in keys:
            public = public_key(key)
            self._keys[sealed.key_id(public)] = key, public

    @classmethod
    def parse(cls, text: str) -> PrivateKeys:
        """From TSP_PRIVATE_KEYS: one key a line, base64 of 32 bytes. ValueError never shows what it read."""
        keys = []
        for number, line in enumerate(text.split(), 1):
            try:
                raw = bytearray(base64.b64decode(line, validate=True))
            except (binascii.Error, ValueError):
                raw = bytearray()
            if len(raw) != KEY_BYTES:
                raise ValueError(f"private key {number} is not base64 of {KEY_BYTES} bytes")
            keys.append(SecretBytes.take(raw))
        return cls(keys)

    @property
    def ids(self) -> list[str]:
        """Key ids, in the order given."""
        return list(self._keys)

    def open(self, boxes: Mapping[str, bytes]) -> tuple[str, bytes]:
        """The id of the key that opened its box, and the document. CannotOpen otherwise."""
        for key, (secret, public) in self._keys.items():
            if key in boxes:
                try:
                    return key, bindings.crypto_box_seal_open(boxes[key], public, bytes(secret.view()))
                except CryptoError:
                    break
        raise CannotOpen


def generate() -> SecretBytes:
    """A new private key."""
    _, private = bindings.crypto_box_keypair()
    return SecretBytes.take(private)


def public_key(private: SecretBytes) -> bytes:
    """The 32 bytes that tenants seal to."""
    return bytes(bindings.crypto_scalarmult_base(bytes(private.view())))


def fingerprint(key_id: str) -> str:
    """A key id in groups of four, as people read it to each other: 128 bits of the public key's SHA-256."""
    return " ".join(key_id[at : at + 4] for at in range(0, len(key_id), 4))
