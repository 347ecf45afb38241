"""Values on their way to the database: sealed when the whole statement is known, with one key a row.

Django lets a prepared value speak SQL for itself (`as_sql(compiler, connection)`), after all rows of the statement
have been prepared. There the rows of an INSERT are `compiler.query.objs` and the values of an UPDATE are
`compiler.query.values`, so that keys for all of them come in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.constants import OnConflict
from django.db.models.expressions import Value
from django.db.models.sql.compiler import SQLInsertCompiler, SQLUpdateCompiler

from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.stored import Stored
from encrypted_fields.keys import RowKey, new_keys

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField


def value_to_seal(field: EncryptedField[Any, Any], instance: models.Model, add: bool) -> Any:
    """What `pre_save` finds in the instance: None, a plain value, or a Sealed whose bytes may stay as they are.

    ValueError for a locked value that would have to be sealed again, for another row or tenant.
    """
    value = instance.__dict__.get(field.attname)
    if hasattr(value, "resolve_expression"):
        if type(value) is not Value:
            raise FieldError(f"{field.name} is encrypted: save a value, not an expression that the database computes")
        value = value.value
    if not isinstance(value, Sealed | Locked):
        return value
    sealed = value.sealed if isinstance(value, Locked) else value
    stays = sealed.is_at(field, instance)
    if stays:
        return sealed
    opened = sealed.open(field, instance if stays is None else None)
    if isinstance(opened, Locked):
        if stays is None and not add:
            return sealed
        raise ValueError(
            f"{field.model._meta.label}.{field.name} is locked: the customer withdrew access, so it cannot be "
            "sealed again for another row or tenant"
        )
    if stays is None:  # it opened as this row's own: that proves its place
        return sealed
    instance.__dict__[field.attname] = opened
    return opened


class Pending:
    """A value and the row it belongs to."""

    __slots__ = ("field", "instance", "value")

    def __init__(self, field: EncryptedField[Any, Any], instance: models.Model, value: Any) -> None:
        self.field, self.instance, self.value = field, instance, value

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        binding = self.field.binding
        groups: dict[Any, dict[int, _Row]] = compiler.__dict__.setdefault("cmk_rows", {})
        group = binding.tenant_from, binding.own_label
        rows = groups.get(group)
        if rows is None:
            rows = groups[group] = _rows(compiler, self)
        (key, edek), tenant = rows[id(self.instance)]
        row = binding.row(self.instance.__dict__[binding.pk.attname])
        return parameter(binding.seal(self.field.codec.dump(self.value), key, edek, tenant, row), connection)

    def __repr__(self) -> str:
        return "<Pending>"


class _Row(NamedTuple):
    key: RowKey
    tenant: str


def _rows(compiler: Any, first: Pending) -> dict[int, _Row]:
    """Key and tenant of each row of the statement that has something to seal; for the fields that take their tenant
    from where `first` does and share its key."""
    query, binding = compiler.query, first.field.binding
    instances: list[models.Model] = []
    if isinstance(compiler, SQLInsertCompiler):
        fields = [one for one in query.fields if is_encrypted(one) and one.binding.shares_key_with(binding)]
        _refuse_upsert(query, fields)
        instances = [one for one in query.objs if any(needs_key(one.__dict__.get(f.attname)) for f in fields)]
    if not any(one is first.instance for one in instances):
        instances.append(first.instance)
    wanted: dict[str, list[models.Model]] = {}
    for one in instances:
        wanted.setdefault(binding.tenant_of(one), []).append(one)
    rows: dict[int, _Row] = {}
    for tenant, members in wanted.items():
        pk = members[0].pk
        about = str(pk) if len(members) == 1 and pk is not None else None
        keys = new_keys(tenant, len(members), label=binding.label, object_id=about)
        for one, key in zip(members, keys, strict=True):
            rows[id(one)] = _Row(key, tenant)
    return rows


def needs_key(value: Any) -> bool:
    return value is not None and not isinstance(value, Sealed | Locked | Stored)


def is_encrypted(field: Any) -> bool:
    # by mark: fields.base imports this module
    return getattr(field, "cmk_encrypted", False) is True


def _refuse_upsert(query: Any, fields: list[Any]) -> None:
    """An upsert may write a new row's ciphertext into an old row: refuse where that row could never open it."""
    if query.on_conflict is not OnConflict.UPDATE:
        return
    updated, unique = set(query.update_fields), set(query.unique_fields)
    for field in updated.intersection(fields):
        binding = field.binding
        if binding.binds_row and binding.pk not in unique:
            raise ValueError(
                f"bulk_create(update_conflicts=True) cannot update {field.name}: its value is bound to the primary key "
                "of the new row. Make the primary key the unique field, or use bind_row=False"
            )
        column = binding.tenant_column
        if column is not None and column not in {one.attname for one in updated | unique}:
            raise ValueError(
                f"bulk_create(update_conflicts=True) cannot update {field.name} without {column}: the row there "
                f"may belong to another tenant. Add {column!r} to update_fields"
            )


class Unplaced:
    """A plain value of `update(field=value)`, of a fixture, or of a schema change: no row comes with it."""

    __slots__ = ("field", "value")

    def __init__(self, field: EncryptedField[Any, Any], value: Any) -> None:
        self.field, self.value = field, value

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        if isinstance(compiler, SQLInsertCompiler) and len(compiler.query.objs) == 1:
            return Pending(self.field, compiler.query.objs[0], self.value).as_sql(compiler, connection)
        return Rewritten(self.field, Value(self.value)).as_sql(compiler, connection)

    def __repr__(self) -> str:
        return "<a value for an encrypted column; add the column with null=True, fill it, then make it required>"


class Rewritten:
    """An expression for `update()` and `bulk_update()`: each value in it sealed for each row that it may reach."""

    __slots__ = ("expression", "field")

    def __init__(self, field: EncryptedField[Any, Any], expression: Any) -> None:
        self.field, self.expression = field, expression

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        from encrypted_fields.fields.updating import Rewriter

        if not isinstance(compiler, SQLUpdateCompiler):
            raise FieldError(f"{self.field.name} is encrypted: it takes values, not expressions")
        return Rewriter(self.field, compiler, connection).sql(self.expression)


def parameter(stored: bytes, connection: Any) -> tuple[str, list[Any]]:
    value = connection.Database.Binary(stored)
    return connection.ops.binary_placeholder_sql(value), [value]
