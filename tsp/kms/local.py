"""A key in a file: for development, demonstrations and tests. Whoever can read the file has the key."""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encrypted_fields.core.aead import KEY_BYTES, ValueKey
from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    InvalidCiphertext,
    KmsError,
    KmsMisconfigured,
    KmsRefused,
    KmsUnreachable,
    KmsUnwrapFailed,
)
from tsp.contract.options import option
from tsp.kms.base import KmsAdapter

_FORMAT = b"\x01"


class LocalKms(KmsAdapter):
    """AES-256-GCM under the file's key, read anew on every call, so that switching it off works at once."""

    label = "Local key file (development only)"

    @dataclass(frozen=True, slots=True)
    class Config:
        key_file: str = option("Key file", help="Path of a key file on the proxy's machine.")

    def _wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes:
        return _FORMAT + self._key().seal(bytes(key), context.aad())

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        key = self._key()
        if blob[:1] != _FORMAT:
            raise KmsUnwrapFailed
        return key.open(blob[1:], context.aad())

    def translate(self, error: Exception) -> KmsError:
        if isinstance(error, InvalidCiphertext):
            return KmsUnwrapFailed()
        if isinstance(error, FileNotFoundError):
            return KmsRefused()  # a removed key is a withdrawn one
        if isinstance(error, (PermissionError, IsADirectoryError, NotADirectoryError)):
            return KmsMisconfigured()
        return KmsUnreachable()

    def _key(self) -> ValueKey:
        found = _read(Path(self.config.key_file))
        if not found["enabled"]:
            raise KmsRefused
        return ValueKey(base64.b64decode(found["key"]))


def create_key_file(path: str | os.PathLike[str]) -> None:
    """Make a new key, enabled, in a file that only its owner can read. FileExistsError rather than overwrite one."""
    _write(Path(path), {"key": base64.b64encode(os.urandom(KEY_BYTES)).decode(), "enabled": True}, new=True)


def set_enabled(path: str | os.PathLike[str], enabled: bool) -> None:
    """What a tenant does in its key service: False withdraws access, True gives it back."""
    found = _read(Path(path))
    _write(Path(path), {**found, "enabled": enabled}, new=False)


def _read(path: Path) -> dict[str, Any]:
    text = path.read_bytes()
    try:
        found = json.loads(text)
        fine = type(found["enabled"]) is bool and len(base64.b64decode(found["key"], validate=True)) == KEY_BYTES
    except (ValueError, KeyError, TypeError, binascii.Error):
        fine = False
    if not fine:
        raise KmsMisconfigured("the local key file is damaged")
    return dict(found)


def _write(path: Path, content: dict[str, Any], *, new: bool) -> None:
    # A whole file appears under the name or none does: a reader never sees half of one.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.link(name, path)
            os.unlink(name)
        else:
            os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
