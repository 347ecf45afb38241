"""AES-256-GCM for one value: the only caller of AESGCM on data. NIST SP 800-38D."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encrypted_fields.core.errors import InvalidCiphertext

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES

_FEW, _MANY = 4, 64
_random: Callable[[int], bytes] = os.urandom  # the one seam for randomness


class Nonces:
    """Random nonces for the seals of one statement: drawn from the system many at a time, after the first few, each
    given once."""

    __slots__ = ("_draw", "_left")

    def __init__(self) -> None:
        self._left: list[bytes] = []
        self._draw = _FEW

    def take(self) -> bytes:
        left = self._left
        if not left:
            drawn = _random(NONCE_BYTES * self._draw)
            left += [drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES)]
            self._draw = _MANY
        return left.pop()


def _cipher(key: bytes | bytearray | memoryview) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("a data key is exactly 32 bytes")
    return AESGCM(key)


class ValueKey:
    """A 32-byte data key ready to seal and open values. Does not print or pickle.

    The random 12-byte nonce limits one key to 2^32 seals; a DEK belongs to one row, so it makes a handful.
    """

    __slots__ = ("_aead",)

    def __init__(self, key: bytes | bytearray | memoryview) -> None:
        self._aead = _cipher(key)

    def seal(self, plaintext: bytes, aad: bytes, nonces: Nonces | None = None) -> bytes:
        """`nonce(12) ‖ ciphertext ‖ tag(16)`."""
        return self._seal_with(plaintext, aad, _random(NONCE_BYTES) if nonces is None else nonces.take())

    def open(self, sealed: bytes | memoryview, aad: bytes) -> bytes:
        """The plaintext. InvalidCiphertext for anything that this key and this `aad` did not seal."""
        if len(sealed) < OVERHEAD:
            raise InvalidCiphertext
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
        except InvalidTag:
            pass
        raise InvalidCiphertext  # outside the except block, so that no cause rides along

    def open_at(self, stored: bytes, start: int, aad: bytes) -> bytes | None:
        """`open` of what begins at `start`, of at least `OVERHEAD` bytes; None instead of InvalidCiphertext."""
        middle = start + NONCE_BYTES
        try:
            return self._aead.decrypt(stored[start:middle], stored[middle:], aad)
        except InvalidTag:
            return None

    def _seal_with(self, plaintext: bytes, aad: bytes, nonce: bytes) -> bytes:
        # Private: a caller who could choose the nonce could repeat it.
        return nonce + self._aead.encrypt(nonce, plaintext, aad)

    def __repr__(self) -> str:
        return "<ValueKey>"

    def __reduce__(self) -> str:
        raise TypeError("a data key cannot be pickled")


def open_rows(
    keys: Iterable[bytearray | ValueKey], columns: Sequence[tuple[Sequence[bytes], Iterable[bytes]]], start: int
) -> list[list[bytes | None]]:
    """The plaintexts of each column, None where a value does not open: what begins at `start` in the n-th of its stored
    values, of at least `OVERHEAD` bytes, under the n-th key with the n-th associated data.

    One cipher at a time, which opens its whole row: that is what it is quickest at (ADR 0016).
    """
    middle, found, last = start + NONCE_BYTES, list[bytes | None](), None
    cells = [
        zip([one[start:middle] for one in stored], [one[middle:] for one in stored], aads, strict=True)
        for stored, aads in columns
    ]
    add = found.append
    for key, *row in zip(keys, *cells, strict=True):
        if key is not last:
            decrypt, last = (key._aead if isinstance(key, ValueKey) else _cipher(key)).decrypt, key
        for nonce, sealed, aad in row:
            try:
                add(decrypt(nonce, sealed, aad))
            except InvalidTag:
                add(None)
    return [found[at :: len(columns)] for at in range(len(columns))]
