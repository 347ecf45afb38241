"""What an index gives away and how often it is wrong, counted from its column alone: no key, no proxy.

After the idea of CipherSweet's index planner: an index whose values are shared by several rows of different contents
hides more and costs more rows to open. Among R rows of one tenant a digest of b bits is shared by R / 2^b rows by
chance; between 2 and the root of R is a fair trade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count

from encrypted_fields.core.blind import HEAD
from encrypted_fields.search.column import IndexColumn


@dataclass(slots=True)
class Secret:
    """The rows of one tenant secret: usually of one tenant."""

    rows: int = 0
    values: int = 0
    largest: int = 0  # rows that share the most frequent value
    pairs: int = 0  # ordered pairs of rows that can be seen to be equal

    @property
    def equal(self) -> float:
        """How often two rows that are drawn have the same index value."""
        return self.pairs / (self.rows * (self.rows - 1)) if self.rows > 1 else 0.0


@dataclass(slots=True)
class Plan:
    """Of one index column."""

    column: IndexColumn
    missing: int
    secrets: dict[int, Secret] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.secrets.values())

    @property
    def most(self) -> int:
        """Rows of the largest tenant."""
        return max((one.rows for one in self.secrets.values()), default=0)


def plan(column: IndexColumn, using: str) -> Plan:
    """One pass over the index column, in groups that the database makes."""
    from encrypted_fields.search.refresh import unfilled

    rows: Any = column.model._base_manager.using(using)
    found = Plan(column, rows.filter(unfilled(column)).count())
    groups = rows.filter(**{f"{column.name}__isnull": False}).order_by().values_list(column.name)
    for stored, count in groups.annotate(n=Count("pk")).iterator(chunk_size=2000):
        one = found.secrets.setdefault(int.from_bytes(bytes(stored)[:HEAD], "big"), Secret())
        one.rows += count
        one.values += 1
        one.largest = max(one.largest, count)
        one.pairs += count * (count - 1)
    return found


def false_positives(rows: int, bits: int) -> float:
    """Rows of other values that a digest of so many bits brings along, on average."""
    return max(rows - 1, 0) / float(2**bits)


def fair_bits(rows: int) -> tuple[int, int] | None:
    """Fewest and most bits for a truncated index over so many rows of a tenant; None for too few rows to hide in."""
    if rows < 16:
        return None
    return math.ceil(math.log2(rows) / 2), math.floor(math.log2(rows)) - 1
