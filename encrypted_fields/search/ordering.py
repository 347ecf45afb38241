"""Ranges and ORDER BY over an order-revealing index: the stored bytes of one tenant secret are in the values' order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import FieldError
from django.db.models.expressions import OrderBy, Ref

from encrypted_fields import index_keys
from encrypted_fields.core.blind import HEAD, head
from encrypted_fields.search.tenants import tenants_of

if TYPE_CHECKING:
    from encrypted_fields.search.column import IndexColumn

BOUNDS = ("lt", "lte", "gt", "gte", "range")
_SIGN = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class RotationUnderWay(FieldError):
    """Values under two tenant secrets have no common order in the database. `sorted_by()` sorts them in memory."""


def bounded(column: str, name: str, found: list[bytes], connection: Any) -> tuple[str, list[Any]]:
    """The condition for each tenant secret: within its own values, and on the right side of the given ones."""
    parts: list[str] = []
    params: list[Any] = []
    steps = 2 if name == "range" else 1
    for start in range(0, len(found), steps):
        one, number = found[start], int.from_bytes(found[start][:HEAD], "big")
        if name == "range":
            parts.append(f"({column} >= %s AND {column} <= %s)")
            some = [one, found[start + 1]]
        elif name in ("lt", "lte"):
            parts.append(f"({column} {_SIGN[name]} %s AND {column} >= %s)")
            some = [one, head(number)]
        else:
            # all bytes of a higher number follow; the last number has none above it
            parts.append(f"({column} {_SIGN[name]} %s AND {column} <= %s)")
            some = [one, head(number) + b"\xff" * (len(one) - HEAD)]
        params += [connection.Database.Binary(value) for value in some]
    return (parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"), params


def ordered_column(field: Any) -> IndexColumn | None:
    return next((one for one in field.index_columns if one.index.lookups & {"gt"}), None)


class _Asked(NamedTuple):
    column: IndexColumn
    lhs: Any


def order_sql(column: IndexColumn, alias: str, compiler: Any) -> tuple[str, list[Any]]:
    """The index column for ORDER BY, for one tenant and one tenant secret; refused where there is no order."""
    if compiler.query.group_by is not None or compiler.query.combinator:
        raise FieldError(f"{column.name} cannot order an aggregation or a union")
    col = column.get_col(alias)
    tenants = tenants_of(_Asked(column, col), compiler, column.binding)
    if len(tenants) > 1:
        raise FieldError(f"{column.name} orders the rows of one tenant: values of several have no common order")
    if len(index_keys.live(tenants[0]).secrets) > 1:
        raise RotationUnderWay(
            f"{column.name}: a rotation of the tenant's secret is under way, and until it is committed its values have "
            "no common order in the database: use sorted_by()"
        )
    sql, params = compiler.compile(col)
    return sql, list(params)


def is_ordered(expression: Any) -> bool:
    """`order_by("salary")` and its like, where the field has such an index."""
    inner: Any = _column(expression) if isinstance(expression, OrderBy) else None
    return hasattr(inner, "column_sql") and ordered_column(inner.target) is not None


def by_index(expression: Any, compiler: Any) -> tuple[Any, tuple[str, list[Any], bool]]:
    """The entry for ORDER BY. A column that is also selected would be ordered by its position: by ciphertext."""
    inner = _column(expression)
    column: Any = ordered_column(inner.target)
    order_sql(column, inner.alias, compiler)  # refuses
    found = expression.copy()
    found.set_source_expressions([column.get_col(inner.alias)])
    sql, params = compiler.compile(found)
    return found, (sql, list(params), False)


def _column(expression: Any) -> Any:
    inner: Any = expression.expression
    return inner.get_source_expressions()[0] if isinstance(inner, Ref) else inner
