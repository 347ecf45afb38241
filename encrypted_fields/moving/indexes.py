"""Index values of values that are sealed past the ORM, so that both columns change in one statement. docs/search.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q

from encrypted_fields import index_keys
from encrypted_fields.moving.table import Table
from encrypted_fields.search.refresh import refresh_indexes


class IndexValues:
    """Of one table: keys are asked for once a tenant."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._live: dict[str, index_keys.Live] = {}

    def columns(self, field: Any) -> list[Any]:
        """Those that index this field alone."""
        return [column for column in field.index_columns if len(column.sources) == 1]

    def values(self, field: Any, data: bytes, tenant: str) -> list[Any]:
        """One for each of `columns`; `data` is what is sealed. Raises the refusal of a tenant that withdrew access."""
        columns = self.columns(field)
        if not columns:
            return []
        if tenant not in self._live:
            self._live[tenant] = index_keys.live(tenant)
        value, found = field.codec.load(data), list[Any]()
        for column in columns:
            secret = column.secret(self._live[tenant])
            found.append(self.table.bytes(column.stored(tenant, secret, column.encode([value]))))
        return found

    def fill_compound(self, fields: Sequence[Any], tenant: str | None) -> None:
        """The indexes over several fields, once all of these are sealed."""
        some = dict.fromkeys(column for field in fields for column in field.index_columns if len(column.sources) > 1)
        if some:
            for _ in refresh_indexes(
                self.table.model, using=self.table.using, columns=list(some), rows=of_tenant(fields[0].binding, tenant)
            ):
                pass


def of_tenant(binding: Any, tenant: str | None) -> Q | None:
    """Rows of one tenant, where a column or a path of columns says whose they are."""
    source = binding.tenant_column or binding.tenant_from
    return Q(**{source: tenant}) if tenant is not None and isinstance(source, str) else None
