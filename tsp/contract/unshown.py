"""A struct that holds a key, and does not show it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Unshown(Struct):
    """For a subclass with key bytes in it: neither `repr` nor rich, whose tracebacks may show locals, prints it."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
