"""The index of what `update()` and `bulk_update()` write: the same expression, with index values for values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError
from django.db.models import Case
from django.db.models.expressions import Value
from django.db.models.functions import Cast, Coalesce

from encrypted_fields.conf import BATCH
from encrypted_fields.fields.sealed import Locked
from encrypted_fields.fields.stored import Stored
from encrypted_fields.fields.updating import MOST_ROWS, Rewriter, _only
from encrypted_fields.fields.writing import parameter

if TYPE_CHECKING:
    from encrypted_fields.search.column import IndexColumn


def simple_sql(column: IndexColumn, written: Any, *, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
    """The index of one field: every value in the expression becomes its index value, the column itself its index."""
    expression = _resolved(written, compiler)
    if isinstance(expression, Value) and expression.value is None:
        return "NULL", []
    rewriter = _IndexRewriter(column, compiler, connection)
    _within_bounds(column, rewriter, compiler)
    return rewriter.build(expression)


def compound_sql(
    column: IndexColumn, written: dict[str, Any], *, compiler: Any, connection: Any
) -> tuple[str, list[Any]]:
    """The index of several fields: worked out for each row, with what the other fields hold now."""
    from encrypted_fields.search.writing import open_stored, stored_for

    expressions = {name: _resolved(value, compiler) for name, value in written.items()}
    if any(isinstance(one, Value) and one.value is None for one in expressions.values()):
        return "NULL", []
    rewriter = _IndexRewriter(column, compiler, connection)
    _within_bounds(column, rewriter, compiler)
    tenants = rewriter.rows.tenants
    current = _Current(column, list(tenants), compiler.using)
    quote = connection.ops.quote_name
    pk, parts, params = column.binding.pk, [], []
    for one, tenant in tenants.items():
        values = []
        for field in column.fields:
            written_here = field.name in expressions
            value = _value(expressions[field.name], one, field, current) if written_here else current.value(one, field)
            values.append(open_stored(field, value, tenant, one) if isinstance(value, Stored) else value)
        locked = [field.name for field, value in zip(column.fields, values, strict=True) if isinstance(value, Locked)]
        if locked:
            raise ValueError(f"{column.name} needs {', '.join(locked)}, which is locked: the customer withdrew access")
        stored = stored_for(column, tenant, values, compiler)
        sql, some = as_parameter(column, stored, connection)
        parts.append(f"WHEN %s THEN {sql}")
        params += [pk.get_db_prep_value(one, connection), *some]
    if not parts:
        return quote(column.column), []
    return f"CASE {quote(pk.column)} {' '.join(parts)} ELSE {quote(column.column)} END", params


class _IndexRewriter(Rewriter):
    def __init__(self, column: IndexColumn, compiler: Any, connection: Any) -> None:
        super().__init__(column.fields[0], compiler, connection)
        self.column = column

    def build(self, expression: Any) -> tuple[str, list[Any]]:
        return self._build(expression, set(self.rows.tenants))

    def _build(self, node: Any, pks: set[Any], *, known: bool = False) -> tuple[str, list[Any]]:
        if self._is_own_column(node):
            return self._own(), []
        if type(node) is Coalesce:
            return self._coalesce(node, pks)
        return super()._build(node, pks, known=known)

    def _own(self) -> str:
        found: str = self.connection.ops.quote_name(self.column.column)
        return found

    def _coalesce(self, node: Any, pks: set[Any]) -> tuple[str, list[Any]]:
        """By which value is there, not by which index is: a row whose index is not filled yet stays so."""
        parts: list[str] = []
        params: list[Any] = []
        for inner in node.get_source_expressions():
            there, some = self._there(inner, pks)
            sql, more = self._build(inner, pks)
            parts.append(f"WHEN {there} THEN {sql}")
            params += [*some, *more]
        return f"CASE {' '.join(parts)} ELSE {null(self.column, self.connection)} END", params

    def _there(self, node: Any, pks: set[Any]) -> tuple[str, list[Any]]:
        """Whether the database finds a value, as SQL."""
        if isinstance(node, Value):
            return ("1 = 0" if node.value is None else "1 = 1"), []
        if self._is_own_column(node):
            sql, some = node.column_sql(self.compiler, self.connection)
            return f"{sql} IS NOT NULL", list(some)
        if type(node) is Case:
            parts: list[str] = []
            params: list[Any] = []
            for case in node.cases:
                condition, some = self.compiler.compile(case.condition)
                there, more = self._there(case.result, pks)
                parts.append(f"WHEN {condition} THEN CASE WHEN {there} THEN 1 ELSE 0 END")
                params += [*some, *more]
            there, more = self._there(node.default, pks)
            return f"CASE {' '.join(parts)} ELSE CASE WHEN {there} THEN 1 ELSE 0 END END = 1", [*params, *more]
        inner = [self._there(one, pks) for one in node.get_source_expressions()]
        return f"({' OR '.join(sql for sql, _ in inner)})", [one for _, some in inner for one in some]

    def _value(self, value: Any, pks: set[Any], *, known: bool) -> tuple[str, list[Any]]:
        if value is None:
            return null(self.column, self.connection), []
        if isinstance(value, Locked) or not pks:
            return self._own(), []
        pk, quote = self.column.binding.pk, self.connection.ops.quote_name
        parts: list[str] = []
        params: list[Any] = []
        for stored, members in self._arms(value, pks):
            sql, some = as_parameter(self.column, stored, self.connection)
            if known:
                return sql, some
            parts.append(f"WHEN {quote(pk.column)} IN ({', '.join(['%s'] * len(members))}) THEN {sql}")
            params += [*(pk.get_db_prep_value(one, self.connection) for one in members), *some]
        return f"CASE {' '.join(parts)} ELSE {self._own()} END", params

    def _arms(self, value: Any, pks: set[Any]) -> list[tuple[bytes | None, list[Any]]]:
        """(index value, the rows that get it)."""
        from encrypted_fields.search.writing import open_stored, stored_for

        if isinstance(value, Stored):
            found = []
            for one in pks:
                tenant = self.rows.tenants[one]
                opened = open_stored(self.field, value, tenant, one)
                found.append((stored_for(self.column, tenant, [opened], self.compiler), [one]))
            return found
        groups: dict[str, list[Any]] = {}
        for one in pks:
            groups.setdefault(self.rows.tenants[one], []).append(one)
        return [(stored_for(self.column, tenant, [value], self.compiler), some) for tenant, some in groups.items()]


class _Current:
    """What the rows of an UPDATE hold now, read when it is first asked for."""

    def __init__(self, column: IndexColumn, pks: list[Any], using: str) -> None:
        self._column, self._pks, self._using = column, pks, using
        self._rows: dict[Any, Any] | None = None

    def value(self, pk: Any, field: Any) -> Any:
        if self._rows is None:
            binding = self._column.binding
            names = ["pk", *self._column.sources, *([binding.tenant_column] if binding.tenant_column else [])]
            self._rows = {}
            for start in range(0, len(self._pks), BATCH // 2):
                part = self._pks[start : start + BATCH // 2]
                found = binding.model._base_manager.using(self._using).filter(pk__in=part).only(*names)
                self._rows |= {row.pk: row for row in found}
        row = self._rows.get(pk)
        return None if row is None else getattr(row, field.attname)


def _value(node: Any, pk: Any, field: Any, current: _Current) -> Any:
    """What an expression gives for one row; FieldError when only the database knows."""
    if isinstance(node, Value):
        return node.value
    if type(node) is Case:
        for case in node.cases:
            reached = _only(case.condition, field, _ANY)
            if reached is _ANY:
                break
            if pk in reached:
                return _value(case.result, pk, field, current)
        else:
            return _value(node.default, pk, field, current)
    if type(node) is Coalesce:
        found = (_value(one, pk, field, current) for one in node.get_source_expressions())
        return next((one for one in found if one is not None), None)
    if type(node) is Cast:
        return _value(node.get_source_expressions()[0], pk, field, current)
    if hasattr(node, "column_sql") and node.target is field:
        return current.value(pk, field)
    raise FieldError(
        f"{field.name} is part of an index over several fields: save the rows, use bulk_update(), or update() with a "
        "plain value"
    )


def _within_bounds(column: IndexColumn, rewriter: Rewriter, compiler: Any) -> None:
    columns = sum(1 for field, _, _ in compiler.query.values if hasattr(field, "sources"))
    most = MOST_ROWS // max(columns, 1)
    if len(rewriter.rows.tenants) > most:
        raise ValueError(f"an update of indexed fields reaches at most {most} rows here: go through them in parts")


def _resolved(value: Any, compiler: Any) -> Any:
    if not hasattr(value, "resolve_expression"):
        return Value(value)
    return value.resolve_expression(compiler.query, allow_joins=False, for_save=True)


def as_parameter(column: IndexColumn, stored: bytes | None, connection: Any) -> tuple[str, list[Any]]:
    return (null(column, connection), []) if stored is None else parameter(stored, connection)


def null(column: IndexColumn, connection: Any) -> str:
    # PostgreSQL takes a CASE of nothing but NULL for text
    casts = connection.features.requires_casted_case_in_updates
    return f"CAST(NULL AS {column.db_type(connection)})" if casts else "NULL"


_ANY: set[Any] = set()
