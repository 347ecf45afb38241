"""Tenant secrets in one file, wrapped: for the sandbox and tests, where one process is alone."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

import msgspec

from tsp.derive import Found, StoredSecret


class _Row(msgspec.Struct):
    id: int
    tenant: str
    kind: str
    path: str
    wrapped: str
    current: bool


class FileSecrets:
    """A SecretStore. The file is replaced as a whole, so that a stop in between leaves the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = msgspec.json.decode(path.read_bytes(), type=list[_Row]) if path.exists() else []
        self._writing = asyncio.Lock()

    async def find(self, tenant: str, kind: str, path: str) -> Found:
        found = [row for row in self._rows if (row.tenant, row.kind, row.path) == (tenant, kind, path)]
        found.sort(key=lambda row: not row.current)
        secrets = [StoredSecret(row.id, base64.b64decode(row.wrapped), row.current) for row in found]
        return Found(secrets, wanting=not found)

    async def create(self, tenant: str, kind: str, path: str, config: int, wrapped: bytes) -> Found:
        async with self._writing:
            if (await self.find(tenant, kind, path)).wanting:
                number = max((row.id for row in self._rows), default=0) + 1  # from 1: java takes 0 for "absent"
                row = _Row(number, tenant, kind, path, base64.b64encode(wrapped).decode(), True)
                await asyncio.to_thread(self._save, [*self._rows, row])
                self._rows.append(row)
        return await self.find(tenant, kind, path)

    def _save(self, rows: list[_Row]) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(msgspec.json.encode(rows))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
