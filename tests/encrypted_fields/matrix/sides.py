"""One side of a comparison: the models of a family in one database, and what lies in its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connections, models

from tests.encrypted_fields.matrix.models import Family


@dataclass(frozen=True)
class Side:
    """The models of one side, plain or encrypted, in one database."""

    family: Family
    db: str
    other: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)

    @property
    def rows(self) -> Any:
        return self.row.objects.using(self.db)

    @property
    def connection(self) -> Any:
        return connections[self.db]

    def field(self, name: str) -> Any:
        return self.row._meta.get_field(name)

    def new(self, **values: Any) -> Any:
        return self.rows.create(**values)

    def one(self, *names: str) -> Any:
        """As instances have it: what values() say is asked apart."""
        row = self.rows.get()
        return tuple(getattr(row, name) for name in names)

    def all(self, *names: str) -> Any:
        return [tuple(getattr(row, name) for name in names) for row in self.rows.order_by("number")]


def stored(side: Side, model: type[models.Model], name: str) -> list[bytes]:
    quote = side.connection.ops.quote_name
    meta = model._meta.get_field(name).model._meta
    with side.connection.cursor() as cursor:
        cursor.execute(f"SELECT {quote(name)} FROM {quote(meta.db_table)} WHERE {quote(name)} IS NOT NULL")
        return [bytes(row[0]) for row in cursor.fetchall()]
