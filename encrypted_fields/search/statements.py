"""An UPDATE that writes an indexed field writes its index columns too, whoever made it."""

from __future__ import annotations

from typing import Any


def write_along(query: Any) -> None:
    """Add to `query.values` what is missing there; for a statement without an indexed field, nothing."""
    wanted = [column for field, _, _ in query.values for column in getattr(field, "index_columns", ())]
    if not wanted:
        return
    from encrypted_fields.search.writing import Along

    present = {field for field, _, _ in query.values}
    added = [(one, None, Along(one)) for one in dict.fromkeys(wanted) if one not in present]
    # First: they may ask what the other columns hold before the statement, and MySQL works from left to right.
    query.values = [*added, *query.values]
