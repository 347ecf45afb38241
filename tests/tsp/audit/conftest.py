"""A spool of one test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tsp.audit.spool import SpoolTrail


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolTrail]:
    trail = SpoolTrail(tmp_path)
    yield trail
    trail.close()
