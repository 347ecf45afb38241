"""The fixture `cmk_tsp` for those who test with pytest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from encrypted_fields.testing import MemoryTsp


@pytest.fixture
def cmk_tsp() -> Iterator[MemoryTsp]:
    """A proxy in memory for one test: `cmk_tsp.revoke("north")`, `cmk_tsp.calls`."""
    with MemoryTsp() as tsp:
        yield tsp
