"""Rows that came with other rows: by select_related and prefetch_related."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import models


def with_relatives(rows: Iterable[Any], most: int | None = None) -> Iterator[models.Model]:
    """The rows, then what was loaded with them, and with that; each once, `most` in all."""
    waiting, seen = list(rows), set[int]()
    for row in waiting:  # grows while it is read
        if not isinstance(row, models.Model) or id(row) in seen:
            continue
        if most is not None and len(seen) >= most:
            return
        seen.add(id(row))
        yield row
        waiting.extend(_beside(row))


def _beside(row: models.Model) -> Iterator[models.Model]:
    yield from (one for one in row._state.fields_cache.values() if isinstance(one, models.Model))
    for many in getattr(row, "_prefetched_objects_cache", {}).values():
        yield from getattr(many, "_result_cache", None) or ()
    for value in list(row.__dict__.values()):  # Prefetch(to_attr=…)
        if type(value) is list:
            yield from (one for one in value if isinstance(one, models.Model))
