"""`update()` and `bulk_update()`: the rows they reach are read first, since each value is sealed for its own row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError
from django.db.models import Case, When
from django.db.models.expressions import Expression, Value
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import Exact

from encrypted_fields.fields.sealed import Locked
from encrypted_fields.fields.stored import Stored
from encrypted_fields.fields.tenants import reached
from encrypted_fields.fields.writing import parameter
from encrypted_fields.keys import RowKey, new_keys
from encrypted_fields.tenancy import agreed, tenant_name

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField

MOST_ROWS = 10_000  # two parameters a row; SQLite takes 32,766 in a statement


class _Rows:
    """The rows that an UPDATE reaches, their tenants and, once needed, their keys. One for each compiler."""

    def __init__(self, compiler: Any, field: EncryptedField[Any, Any]) -> None:
        binding = field.binding
        names = ["pk"]
        moving = _moving_to(compiler, field)
        source = binding.tenant_column or binding.tenant_from
        if callable(source):
            raise FieldError(
                f"{field.name} takes its tenant from a function of the row, which update() does not have: save the "
                "instances, or give tenant_from= the name of a column"
            )
        if source is not None and moving is None:
            names.append(source)
        found = list(reached(compiler).values_list(*names)[: MOST_ROWS + 1])
        if len(found) > MOST_ROWS:
            raise ValueError(
                f"an update of encrypted fields reaches at most {MOST_ROWS} rows: go through them in parts"
            )
        self.tenants: dict[Any, str] = {}
        for row in found:
            own: str | None
            if moving is not None:
                own = moving[row[0]] if isinstance(moving, dict) else moving
            else:
                own = None if len(row) == 1 else tenant_name(row[1])
            self.tenants[row[0]] = agreed(own)
        self._label = binding.label
        self._keys: dict[Any, RowKey] = {}

    def keys(self, pks: set[Any]) -> dict[Any, RowKey]:
        """One key a row, shared by the fields of the statement."""
        missing: dict[str, list[Any]] = {}
        for pk in pks:
            if pk not in self._keys:
                missing.setdefault(self.tenants[pk], []).append(pk)
        for tenant, members in missing.items():
            about = str(members[0]) if len(members) == 1 else None
            self._keys.update(
                zip(members, new_keys(tenant, len(members), label=self._label, object_id=about), strict=True)
            )
        return self._keys


class Rewriter:
    """One field's expression as SQL: Value, Case, When, Coalesce, Cast and the column itself; FieldError for others."""

    def __init__(self, field: EncryptedField[Any, Any], compiler: Any, connection: Any) -> None:
        self.field, self.compiler, self.connection = field, compiler, connection
        all_rows: dict[Any, _Rows] = compiler.__dict__.setdefault("cmk_update_rows", {})
        group = field.binding.tenant_from, field.binding.own_label
        if group not in all_rows:
            all_rows[group] = _Rows(compiler, field)
        self.rows = all_rows[group]

    def sql(self, expression: Any) -> tuple[str, list[Any]]:
        wanted: set[Any] = set()
        self._walk(expression, set(self.rows.tenants), wanted)  # first, so that all keys come together
        self.rows.keys(wanted)
        return self._build(expression, set(self.rows.tenants))

    def _walk(self, node: Any, pks: set[Any], wanted: set[Any]) -> None:
        if isinstance(node, Value):
            if node.value is not None and not isinstance(node.value, Locked | Stored):
                wanted |= pks
        else:
            for inner, reached in self._parts(node, pks):
                self._walk(inner, reached, wanted)

    def _parts(self, node: Any, pks: set[Any]) -> list[tuple[Any, set[Any]]]:
        """The whitelist: the values inside `node` and the rows that each may reach."""
        if type(node) is Case:
            return [*((case, pks) for case in node.cases), (node.default, pks)]
        if type(node) is When:
            return [(node.result, pks & _only(node.condition, self.field, pks))]
        if type(node) in (Cast, Coalesce):
            return [(inner, pks) for inner in node.get_source_expressions()]
        if self._is_own_column(node):
            return []
        raise FieldError(
            f"{self.field.model._meta.label}.{self.field.name} is encrypted: the database cannot compute its value. "
            "Use a plain value, Value(), Case/When or Coalesce of such"
        )

    def _build(self, node: Any, pks: set[Any], *, known: bool = False) -> tuple[str, list[Any]]:
        """`known`: the condition around it leaves the one row in `pks` and no other."""
        if isinstance(node, Value):
            return self._value(node.value, pks, known=known)
        if type(node) is When:
            condition, params = self.compiler.compile(node.condition)
            only = _only(node.condition, self.field, pks)
            result, more = self._build(node.result, pks & only, known=only is not pks)
            return f"WHEN {condition} THEN {result}", [*params, *more]
        if self._is_own_column(node):
            sql, params = node.column_sql(self.compiler, self.connection)
            return sql, list(params)
        built = [self._build(inner, reached) for inner, reached in self._parts(node, pks)]
        params = [one for _, some in built for one in some]
        if type(node) is Case:
            *cases, (default, _) = built
            if not cases:
                return default, params
            return f"CASE {' '.join(sql for sql, _ in cases)} ELSE {default} END", params
        if type(node) is Cast:
            return built[0][0], params
        return f"COALESCE({', '.join(sql for sql, _ in built)})", params

    def _value(self, value: Any, pks: set[Any], *, known: bool) -> tuple[str, list[Any]]:
        field, binding = self.field, self.field.binding
        quote = self.connection.ops.quote_name
        column = quote(field.column)
        if value is None:
            # PostgreSQL takes a CASE of nothing but NULL for text
            casts = self.connection.features.requires_casted_case_in_updates
            return f"CAST(NULL AS {field.db_type(self.connection)})" if casts else "NULL", []
        if isinstance(value, Stored):
            return parameter(value.data, self.connection)
        if isinstance(value, Locked) or not pks:
            return column, []
        keys, data = self.rows.keys(pks), field.codec.dump(value)
        parts: list[str] = []
        params: list[Any] = []
        pk = binding.pk
        for one in pks:
            key, edek = keys[one]
            stored = binding.seal(data, key, edek, self.rows.tenants[one], binding.row(one))
            sql, some = parameter(stored, self.connection)
            if known:
                return sql, some
            parts.append(f"WHEN %s THEN {sql}")
            params += [pk.get_db_prep_value(one, self.connection), *some]
        return f"CASE {quote(pk.column)} {' '.join(parts)} ELSE {column} END", params

    def _is_own_column(self, node: Any) -> bool:
        return hasattr(node, "column_sql") and node.target is self.field


def _only(condition: Any, field: EncryptedField[Any, Any], pks: set[Any]) -> set[Any]:
    """The rows that `pk = value`, as bulk_update writes it, leaves; all of them for any other condition."""
    children: list[Any] = list(getattr(condition, "children", ()))
    if len(children) == 1 and not condition.negated and isinstance(children[0], Exact):
        lookup = children[0]
        if getattr(lookup.lhs, "target", None) is field.binding.pk and not isinstance(lookup.rhs, Expression):
            value = field.binding.pk.to_python(lookup.rhs)
            return {value}
    return pks


def _moving_to(compiler: Any, field: EncryptedField[Any, Any]) -> str | dict[Any, str] | None:
    """The tenant that the same statement gives its rows, by primary key from bulk_update(); None if it gives none.

    That all their encrypted fields come along was seen to before (fields.tenants).
    """
    column = field.binding.tenant_column
    for other, _, value in compiler.query.values:
        if column is not None and other.attname == column:
            if hasattr(value, "resolve_expression"):
                return _each(value, other, field)
            return tenant_name(getattr(value, "pk", value))
    return None


def _each(expression: Any, column: Any, field: EncryptedField[Any, Any]) -> dict[Any, str]:
    """`CASE WHEN pk = x THEN tenant …`, as bulk_update() writes it."""
    while type(expression) is Cast:
        (expression,) = expression.get_source_expressions()
    found: dict[Any, str] = {}
    everything: set[Any] = set()
    for case in expression.cases if type(expression) is Case else ():
        only = _only(case.condition, field, everything)
        if only is everything or not isinstance(case.result, Value):
            found = {}
            break
        found |= dict.fromkeys(only, tenant_name(getattr(case.result.value, "pk", case.result.value)))
    if not found:
        raise FieldError(f"change {column.name} by saving each row: its encrypted fields are sealed for one tenant")
    return found
