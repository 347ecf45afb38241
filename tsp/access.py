"""API keys that are good for some tenants and operations only, from a file that is read again when it changes. T-13."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from tsp.auth import Caller
from tsp.contract.tenant import is_name
from tsp.guard import OPERATIONS

LOOK_SECONDS = 1.0
MOST = 10_000
_MAX_FILE = 16 * 1024 * 1024
_MEMBERS = {"name", "sha256", "tenants", "operations"}
_log = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


class AccessError(ValueError):
    """The file of API keys cannot be used. Says where it is wrong; never holds a key."""


class AccessFile:
    """A JSON list of {"name", "sha256", "tenants", "operations"}; see docs/operations.md. AccessError at the start.

    A change that cannot be used leaves the last good list in force, and says so in the log. An empty list is one: it
    takes every key back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._look()
        self._callers = dict(_read(path))

    def find(self, digest: bytes) -> Caller | None:
        """Whose the key with this SHA-256 is.

        The table is keyed with the hash of what was sent: how long a look-up takes tells of that hash alone, and
        nobody can aim at a hash.
        """
        found, caller = self._callers.get(digest, _NOBODY)
        return caller if hmac.compare_digest(found, digest) else None

    def refresh(self) -> None:
        """Read the file again if it is another one than before."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._callers = dict(_read(self._path))
        except AccessError as error:
            _log.error("the API keys stay as they were: %s", error)
            return
        _log.info("the API keys were read again", extra={"count": len(self._callers)})

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.refresh)

    def _look(self) -> Stamp | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def new_key() -> str:
    """32 random bytes in base64, as every client takes it."""
    return base64.b64encode(os.urandom(32)).decode()


def entry(key: str, name: str, tenants: list[str] | str, operations: list[str] | str) -> dict[str, Any]:
    """What stands in the file for `key`. AccessError for a name, tenant or operation that is none."""
    made = {
        "name": name, "sha256": sha256(key.encode()).hexdigest(), "tenants": tenants, "operations": operations
    }  # fmt: skip
    _caller(made, "the new key")
    return made


_NOBODY = (b"", Caller(""))


def _read(path: Path) -> Iterator[tuple[bytes, tuple[bytes, Caller]]]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        entries = json.loads(data) if len(data) <= _MAX_FILE else None
    except OSError as error:
        raise AccessError(f"TSP_API_KEYS_FILE cannot be read ({error.strerror}): {path}") from None
    except (ValueError, RecursionError):
        raise AccessError(f"TSP_API_KEYS_FILE is not JSON: {path}") from None
    if not isinstance(entries, list) or len(entries) > MOST:
        raise AccessError(f"TSP_API_KEYS_FILE is not a list of at most {MOST} keys: {path}")
    names: set[str] = set()
    digests: set[bytes] = set()
    for number, one in enumerate(entries, 1):
        digest, caller = _caller(one, f"TSP_API_KEYS_FILE, key {number}")
        if caller.name in names or digest in digests:
            raise AccessError(f"TSP_API_KEYS_FILE, key {number}: its name or its sha256 is there already")
        names.add(caller.name)
        digests.add(digest)
        yield digest, (digest, caller)


def _caller(one: Any, where: str) -> tuple[bytes, Caller]:
    if not isinstance(one, dict) or set(one) != _MEMBERS:
        raise AccessError(f"{where}: must have exactly {', '.join(sorted(_MEMBERS))}")
    name, digest = one["name"], one["sha256"]
    if not isinstance(name, str) or not is_name(name) or name.startswith("TSP_"):
        raise AccessError(f"{where}: 'name' must be 1 to 64 of A-Z a-z 0-9 . _ -, and not begin with TSP_")
    if not isinstance(digest, str) or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise AccessError(f"{where}: 'sha256' must be the 64 hex digits that `manage.py tsp_api_key` printed")
    tenants = _names(one["tenants"], f"{where}: 'tenants'")
    operations = _names(one["operations"], f"{where}: 'operations'")
    if operations is not None and not operations <= set(OPERATIONS):
        raise AccessError(f"{where}: 'operations' must be of {', '.join(OPERATIONS)}")
    return bytes.fromhex(digest), Caller(name, tenants, operations)


def _names(value: Any, where: str) -> frozenset[str] | None:
    if value == "*":
        return None
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and is_name(one) for one in value):
        raise AccessError(f'{where} must be "*" or a list of names that is not empty')
    return frozenset(value)
