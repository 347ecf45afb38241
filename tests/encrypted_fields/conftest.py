"""A proxy in memory for each test of the fields."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections

from encrypted_fields.pytest_plugin import cmk_tsp

__all__ = ["cmk_tsp"]


@pytest.fixture(autouse=True)
def _a_response_that_is_closed_keeps_the_database() -> Iterator[None]:
    """Outside of a server a closed response would close the test's own connection, and a database in memory with it."""
    request_finished.disconnect(close_old_connections)
    yield
    request_finished.connect(close_old_connections)
