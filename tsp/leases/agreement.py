"""Which ELEK is the active one of a tenant key in an epoch: all proxies take the first that was written. R-27.

Only wrapped keys are kept here. Losing all of it loses nothing: each EDEK carries its own ELEK (R-31).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Protocol

MAX_ELEK = 2200


class Agreement(Protocol):
    """`slot` names vendor, tenant, configuration, version and epoch."""

    async def find(self, slot: str) -> bytes | None:
        """The agreed ELEK, or None. A hint: whoever uses it proves it with the key service first."""
        ...

    async def settle(self, slot: str, elek: bytes, instead_of: bytes | None) -> bytes:
        """Put `elek` where `instead_of` is now; what stands there afterwards: `elek`, or that of a faster one."""
        ...

    def alone(self, slot: str) -> bool:
        """Whether the last answer for `slot` was this process's own, because the others could not be asked."""
        ...


class FileAgreement:
    """For a proxy without Redis: one small file a slot, so that a restart goes on with the same leased key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writing = asyncio.Lock()

    async def find(self, slot: str) -> bytes | None:
        try:
            return self._path(slot).read_bytes()[:MAX_ELEK]
        except FileNotFoundError:
            return None

    async def settle(self, slot: str, elek: bytes, instead_of: bytes | None) -> bytes:
        async with self._writing:
            path = self._path(slot)
            if instead_of is not None and await self.find(slot) == instead_of:
                path.unlink(missing_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(elek)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(name, path)  # fails if the name exists: the compare-and-set, also between two processes
            except FileExistsError:
                pass
            finally:
                os.unlink(name)
            return await self.find(slot) or elek

    def alone(self, slot: str) -> bool:
        return False

    def _path(self, slot: str) -> Path:
        return self._folder / (sha256(slot.encode()).hexdigest() + ".elek")
