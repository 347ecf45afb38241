"""A proxy in memory for each test of the fields."""

from __future__ import annotations

from encrypted_fields.pytest_plugin import cmk_tsp

__all__ = ["cmk_tsp"]
