"""A temporary file that nobody else can read: sealed under a key that lives only in this process and is then gone."""

from __future__ import annotations

import os
import tempfile

from encrypted_fields.core.aead import KEY_BYTES
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.stream import CHUNK, MAGIC, SALT_BYTES, Header, OpeningReader, _file_key, _nonce

_PLACE = ValueContext("", "upload", "")


class Spool:
    """Takes bytes in pieces; `finish` gives them back, seekable. What lies on disk has no name and is ciphertext."""

    def __init__(self, folder: str | None = None) -> None:
        self._key, header = bytearray(os.urandom(KEY_BYTES)), Header(b"\0", os.urandom(SALT_BYTES))
        self._aead = _file_key(self._key, MAGIC, header.salt, _PLACE)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - handed on by finish
        self._file.write(header.dump())
        self._held, self._number = bytearray(), 0

    def write(self, data: bytes) -> None:
        self._held += data
        while len(self._held) > CHUNK:  # one chunk is held back: it may be the last
            self._seal(last=False)

    def finish(self) -> OpeningReader:
        """The plaintext; closing it closes nothing else: see `close`."""
        self._seal(last=True)
        try:
            return OpeningReader(self._file, self._key, _PLACE)
        finally:
            wipe(self._key)

    def close(self) -> None:
        wipe(self._key)
        self._held.clear()
        self._file.close()

    def _seal(self, *, last: bool) -> None:
        self._file.write(self._aead.encrypt(_nonce(self._number, last=last), self._held[:CHUNK], None))
        del self._held[:CHUNK]
        self._number += 1
