"""Lookups that an index answers: a plain comparison of its column with what the value gives under the tenant's secrets.

The lookup's left side becomes the index column before Django sees it, so joins, subqueries, `Q`, `exclude` and
`count()` are those of an ordinary column.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet, FieldError
from django.db import NotSupportedError
from django.db.models.lookups import Exact, Lookup

from encrypted_fields import index_keys, policy
from encrypted_fields.search.capabilities import NOTHING
from encrypted_fields.search.ordering import BOUNDS, bounded
from encrypted_fields.search.tenants import tenants_of
from encrypted_fields.tenancy import metadata

if TYPE_CHECKING:
    from encrypted_fields.search.column import IndexColumn

_MANY = ("in", "range")


def answering(column: IndexColumn, name: str) -> Callable[[Any, Any], Lookup[Any]] | None:
    """A lookup class of this name, if the index answers it."""
    return partial(IndexLookup, column=column, name=name) if name in column.index.lookups else None


def by_bytes(answer: Callable[[Any, Any], Lookup[Any]] | None) -> Callable[[Any, Any], Lookup[Any]]:
    """`exact` of an index column: with bytes, as Django's `validate_unique` asks, else what the index answers."""

    def found(lhs: Any, rhs: Any) -> Lookup[Any]:
        if isinstance(rhs, enum.Enum):  # a new row's: there is none like it
            return Exact(lhs, b"")
        if rhs is None or isinstance(rhs, bytes | memoryview):
            return Exact(lhs, rhs)
        if answer is None:
            raise FieldError(f"{lhs.target.name} is an index: ask {' and '.join(lhs.target.sources)}")
        return answer(lhs, rhs)

    return found


class IndexLookup(Lookup):
    """`rhs` holds the bytes of the values that are asked for; their index values follow when the tenant is known."""

    can_use_none_as_rhs = False

    def __init__(self, lhs: Any, rhs: Any, *, column: IndexColumn, name: str) -> None:
        self.column, self.lookup_name = column, name
        super().__init__(column.get_col(lhs.alias), rhs)

    def get_prep_lookup(self) -> Any:
        if self.rhs is None:
            return None
        if self.lookup_name not in _MANY:
            return self._encoded([self.rhs])
        if hasattr(self.rhs, "resolve_expression") or isinstance(self.rhs, str | bytes):
            raise self._refused()
        if self.lookup_name == "range":
            if len(self.rhs) != 2 or None in self.rhs:
                raise ValueError("a range has two ends")
            return self._encoded(self.rhs)
        return self._encoded(one for one in self.rhs if one is not None)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if not self.rhs:
            raise EmptyResultSet
        column, alias = self.column, self.lhs.alias
        found: list[bytes] = []
        for tenant in tenants_of(self, compiler, column.binding):
            if any(policy.configured()):
                policy.permit(metadata(tenant, column.label, None), "search")
            for secret in live(tenant, compiler).secrets:
                found += [column.stored(tenant, secret, values) for values in self.rhs]
        quote = compiler.quote_name_unless_alias
        if self.lookup_name in BOUNDS:
            return bounded(f"{quote(alias)}.{quote(column.column)}", self.lookup_name, found, connection)
        if connection.ops.max_in_list_size() is not None:
            raise NotSupportedError("blind indexes are for SQLite, PostgreSQL and MySQL")
        # as Django's `exact` and `in` would say it
        marks = "= %s" if len(found) == 1 else f"IN ({', '.join(['%s'] * len(found))})"
        params = [connection.Database.Binary(one) for one in found]
        parts = [f"{quote(alias)}.{quote(one.column)} {marks}" for one in column.columns]
        if len(parts) == 1:
            return parts[0], params
        return f"({' OR '.join(parts)})", params * len(parts)

    def _encoded(self, values: Any) -> tuple[tuple[bytes, ...], ...]:
        found = []
        for value in values:
            whole = [value] if len(self.column.sources) == 1 else value
            if isinstance(whole, str | bytes) or not hasattr(whole, "__len__"):
                raise self._refused()
            if len(whole) != len(self.column.sources):
                raise ValueError(f"{self.column.name} is asked for ({', '.join(self.column.sources)})")
            if any(hasattr(one, "resolve_expression") for one in whole):
                raise self._refused()
            encoded = self.column.encode(whole)
            if encoded is not None and NOTHING not in encoded:
                found.append(encoded)
        return tuple(found)

    def _refused(self) -> FieldError:
        of = " and ".join(self.column.sources)
        return FieldError(f"{self.column.model._meta.label}.{of} is encrypted: compare it with plain values")

    def __repr__(self) -> str:
        return f"<IndexLookup {self.column.name} {self.lookup_name}>"


def live(tenant: str, compiler: Any) -> index_keys.Live:
    """One state of the tenant's secrets for all of a statement."""
    found: dict[str, index_keys.Live] = compiler.__dict__.setdefault("cmk_index_secrets", {})
    if tenant not in found:
        found[tenant] = index_keys.live(tenant)
    return found[tenant]
