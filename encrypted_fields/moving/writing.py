"""Both columns of a moving value in one statement, whichever way the ORM writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError
from django.db.models import Case, Value, When
from django.db.models.functions import Cast
from django.db.models.sql.compiler import SQLUpdateCompiler

from encrypted_fields.fields.columns import EncryptedCol
from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.writing import Pending
from encrypted_fields.moving import DUAL, PLAINTEXT

if TYPE_CHECKING:
    from django.db import models

    from encrypted_fields.moving.field import MovingField


class Both(Pending):
    """A value for the encrypted column. In an UPDATE that does not name the other column, it sets that one as well.

    `instance` is None for `update()` and fixtures; `value` is then what they gave, else what `pre_save` made of the
    instance: None, a Sealed or Locked that stays as it is, or a Pending.
    """

    __slots__ = ()

    def __init__(self, field: MovingField[Any, Any], instance: models.Model | None, value: Any) -> None:
        self.field: Any = field
        self.instance: Any = instance
        self.value = value

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        field, query = self.field, compiler.query
        if not isinstance(compiler, SQLUpdateCompiler):
            updated = set(getattr(query, "update_fields", None) or ())
            if (field in updated) is not (field.clear in updated):
                raise ValueError(
                    f"bulk_create(update_conflicts=True) updates both columns of {field.name} or none: name "
                    f"{field.plaintext!r} as well"
                )
            return self._sealed(compiler, connection)
        if any(one is field.clear for one, _, _ in query.values) or self._stays():
            return self._sealed(compiler, connection)
        sql, params = self._sealed(compiler, connection)
        clear, more = self._clear(compiler)
        return f"{sql}, {connection.ops.quote_name(field.clear.column)} = {clear}", [*params, *more]

    def _stays(self) -> bool:
        """Whether nobody looked at the value or loaded it in clear, as after `only()`: what lies in clear is right."""
        if self.instance is None or self.field.state != DUAL:
            return False
        data = self.instance.__dict__
        return isinstance(data.get(self.field.attname), Sealed | Locked) and self.field.clear.attname not in data

    def _sealed(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        form = self.field.sealed_form(self.value, connection)
        if form is None:
            return "NULL", []
        if hasattr(form, "as_sql"):
            sql, params = compiler.compile(form)
            return sql, list(params)
        return connection.ops.binary_placeholder_sql(form), [form]

    def _clear(self, compiler: Any) -> tuple[str, list[Any]]:
        value = self.value if self.instance is None else self.field.clear.value_of(self.instance)
        expression = value if hasattr(value, "resolve_expression") else Value(value, output_field=self.field.clear)
        if self.instance is not None:  # of a save(): not resolved yet
            expression = expression.resolve_expression(compiler.query, allow_joins=False, for_save=True)
        expression = in_clear(expression, self.field)
        expression.for_save = True
        sql, params = compiler.compile(expression)
        return sql, list(params)

    def __repr__(self) -> str:
        return "<a moving value; its column is added by encrypted_fields.operations.EncryptField>"


def in_clear(node: Any, field: MovingField[Any, Any]) -> Any:
    """The same expression for the column in clear: its own values and columns, or NULL where nothing stays in clear."""
    if isinstance(node, Value):
        if field.state == PLAINTEXT and vars(node).get("output_field") is not field:
            return node  # of a function that the database may compute
        kept = node.value if field.state in (PLAINTEXT, DUAL) else None
        found = Value(kept, output_field=field.clear)
        found.for_save = True
        return found
    if isinstance(node, EncryptedCol) and node.target is field:
        return field.clear.get_col(node.alias)
    if field.state != PLAINTEXT and type(node) not in (Case, When, Cast):
        raise FieldError(
            f"{field.name} is moving: update() takes a Value, Case, When and the column itself for it, "
            f"not {type(node).__name__}"
        )
    copy = node.copy()
    if isinstance(node, When):
        copy.result = in_clear(node.result, field)
    else:
        copy.set_source_expressions([in_clear(one, field) for one in node.get_source_expressions()])
    if field.state != PLAINTEXT or vars(node).get("output_field") is field:
        copy.output_field = field.clear
    return copy
