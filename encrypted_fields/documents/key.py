"""One document's data key in use: what IronCore's formats do with it, and the wiping afterwards."""

from __future__ import annotations

import hmac
from types import TracebackType
from typing import NoReturn, Self

from cryptography.hazmat.primitives.ciphers import AEADDecryptionContext, AEADEncryptionContext, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from encrypted_fields.core.aead import ValueKey

MAX_VALUE = 2**31 - 1024  # AES-GCM in one call; longer data goes through a stream
Data = bytes | bytearray | memoryview


class DocumentKey:
    """`with DocumentKey(dek) as key:` takes over the 32 bytes and zeroes them at the end. Does not print or pickle.

    All AES-256-GCM here is without associated data, as the formats have it: a value is bound to its key and to nothing
    else. Each seal draws a random nonce; a document has far fewer than 2^32 fields.
    """

    __slots__ = ("_dek", "_value")

    def __init__(self, dek: bytearray) -> None:
        self._value = ValueKey(dek)
        self._dek = dek

    def seal(self, plaintext: Data) -> bytes:
        """`nonce(12) ‖ ciphertext ‖ tag(16)`. ValueError above 2 GiB."""
        if len(plaintext) > MAX_VALUE:
            raise ValueError("a value of 2 GiB or more is encrypted as a stream")
        return self._value.seal(plaintext, b"")  # type: ignore[arg-type]  # any buffer will do

    def open(self, sealed: Data) -> bytes:
        """The plaintext of `seal`. InvalidCiphertext for anything else; ValueError above 2 GiB."""
        if len(sealed) > MAX_VALUE + 28:
            raise ValueError("a value of 2 GiB or more is decrypted as a stream")
        return self._value.open(memoryview(sealed), b"")

    def tag(self, nonce: bytes, message: bytes) -> bytes:
        """The 16-byte GCM tag alone: the formats of 2019 use it as a signature."""
        context = self.encryptor(nonce)
        context.update(message)
        context.finalize()
        return context.tag

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA256, 32 bytes."""
        return hmac.digest(self._dek, message, "sha256")

    def encryptor(self, nonce: bytes) -> AEADEncryptionContext:
        return Cipher(AES(self._dek), GCM(nonce)).encryptor()

    def decryptor(self, nonce: bytes) -> AEADDecryptionContext:
        """Gives plaintext before the tag is checked: only for callers that hold it back."""
        return Cipher(AES(self._dek), GCM(nonce)).decryptor()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._dek[:] = bytes(len(self._dek))

    def __repr__(self) -> str:
        return "<DocumentKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a data key cannot be pickled")
