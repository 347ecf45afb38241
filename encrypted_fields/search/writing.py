"""Index values on their way to the database: in the very statement that writes what they index.

An INSERT writes all columns. An UPDATE writes those it was given, and `search.statements` adds the index columns of the
indexed fields among them, so that no way of writing leaves one behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.constants import OnConflict
from django.db.models.expressions import Value
from django.db.models.sql.compiler import SQLInsertCompiler

from encrypted_fields.core.errors import WITHDRAWN
from encrypted_fields.fields.binding import edek_of
from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.stored import Stored
from encrypted_fields.fields.writing import Pending, parameter
from encrypted_fields.keys import open_keys
from encrypted_fields.moving import PLAINTEXT
from encrypted_fields.search.column import UNSET
from encrypted_fields.search.lookups import live
from encrypted_fields.search.rewriting import compound_sql, simple_sql

if TYPE_CHECKING:
    from encrypted_fields.search.column import IndexColumn


class Kept:
    """A stored value of an indexed field that is written back as it is, with the row it belongs to."""

    __slots__ = ("field", "instance", "sealed")

    def __init__(self, field: Any, instance: models.Model, sealed: Sealed | Stored) -> None:
        self.field, self.instance, self.sealed = field, instance, sealed

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        held = self.sealed
        return parameter(held.data if isinstance(held, Stored) else held.stored(self.field), connection)

    def __repr__(self) -> str:
        return "<Kept>"


class OfRow:
    """The index value of an instance that is saved."""

    __slots__ = ("column", "instance")

    def __init__(self, column: IndexColumn, instance: models.Model) -> None:
        self.column, self.instance = column, instance

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        if isinstance(compiler, SQLInsertCompiler):
            _upsert(compiler.query, self.column)
        elif not _written(compiler.query, self.column):
            return connection.ops.quote_name(self.column.column), []
        return _of_row(self.column, self.instance, compiler, connection)

    def __repr__(self) -> str:
        return "<OfRow>"


class Along:
    """The index value of whatever the same statement writes into the indexed fields."""

    __slots__ = ("column",)

    def __init__(self, column: IndexColumn) -> None:
        self.column = column

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        column, query = self.column, compiler.query
        if isinstance(compiler, SQLInsertCompiler):
            if len(query.objs) != 1:
                raise FieldError(f"{column.name} is an index: it is written with {', '.join(column.sources)}")
            return _of_row(column, query.objs[0], compiler, connection)
        written = _written(query, column)
        if not written:
            raise FieldError(f"{column.name} is an index: it is written with {', '.join(column.sources)}")
        for value in written.values():
            if isinstance(value, Pending | Kept):
                return _of_row(column, value.instance, compiler, connection)
        if in_clear(column):
            return "NULL", []
        if len(column.sources) == 1:
            return simple_sql(column, *written.values(), compiler=compiler, connection=connection)
        return compound_sql(column, written, compiler=compiler, connection=connection)

    def __repr__(self) -> str:
        return "<Along>"


class Given:
    """An index value that was computed before, for the refresh of an index."""

    __slots__ = ("stored",)

    def __init__(self, stored: bytes | None) -> None:
        self.stored = stored

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        return ("NULL", []) if self.stored is None else parameter(self.stored, connection)


def stored_for(column: IndexColumn, tenant: str, values: Any, compiler: Any) -> bytes | None:
    """What the column holds for these values of its fields."""
    encoded = column.encode(values)
    if encoded is None:
        return None
    return column.stored(tenant, column.secret(live(tenant, compiler)), encoded)


def in_clear(column: IndexColumn) -> bool:
    """Whether a field of the index is on its way from plaintext and not sealed yet (docs/moving.md)."""
    return any(field.state == PLAINTEXT for field in column.fields)


def _written(query: Any, column: IndexColumn) -> dict[str, Any]:
    """What the UPDATE writes into the fields of this index."""
    return {field.name: value for field, _, value in query.values if field.name in column.sources}


def _of_row(column: IndexColumn, instance: models.Model, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
    data = instance.__dict__
    if in_clear(column):
        return "NULL", []
    values = [data.get(field.attname, _NOT_LOADED) for field in column.fields]
    if any(one is None for one in values):
        return "NULL", []
    if all(isinstance(one, Sealed | Locked) for one in values) and data.get(column.attname, UNSET) is not UNSET:
        stored = data[column.attname]  # it came with them
        return ("NULL", []) if stored is None else parameter(bytes(stored), connection)
    opened = [_opened(field, instance, value) for field, value in zip(column.fields, values, strict=True)]
    locked = [field.name for field, one in zip(column.fields, opened, strict=True) if isinstance(one, Locked)]
    if locked and len(locked) == len(opened) and not isinstance(compiler, SQLInsertCompiler):
        return connection.ops.quote_name(column.column), []  # nothing changes
    if locked:
        raise ValueError(
            f"{column.model._meta.label}.{column.name} needs {', '.join(locked)}, which is locked: the customer "
            "withdrew access"
        )
    tenant = column.binding.tenant_of(instance)
    found = data[column.attname] = stored_for(column, tenant, opened, compiler)
    return ("NULL", []) if found is None else parameter(found, connection)


def _opened(field: Any, instance: models.Model, value: Any) -> Any:
    if value is _NOT_LOADED or isinstance(value, Sealed):
        return getattr(instance, field.attname)
    if isinstance(value, Stored):
        return open_stored(field, value, field.binding.tenant_of(instance), getattr(instance, field.binding.pk.attname))
    return value.value if type(value) is Value else value


def open_stored(field: Any, value: Stored, tenant: str, pk: Any) -> Any:
    """The value in ciphertext that a fixture or a backup brought; None, to be filled in later, while access is
    withdrawn."""
    binding, stored = field.binding, value.data
    edek = edek_of(stored)
    try:
        key = None if value.ahead is None else value.ahead.key(tenant, edek, label=binding.label)
        if key is None:
            key = dict(open_keys(tenant, [edek], label=binding.label))[edek]
    except WITHDRAWN:
        return None
    if isinstance(key, WITHDRAWN):
        return None
    if isinstance(key, Exception):
        raise key
    return field.codec.load(binding.open(stored, key, tenant, binding.row_part(pk) if stored[4] == 1 else None))


def _upsert(query: Any, column: IndexColumn) -> None:
    """The row that is updated instead of inserted gets the new index value with the new value."""
    if query.on_conflict is not OnConflict.UPDATE:
        return
    updated = {field.name for field in query.update_fields}
    touched = updated.intersection(column.sources)
    if not touched or column.name in updated:
        return
    if len(touched) < len(column.sources):
        raise ValueError(
            f"bulk_create(update_conflicts=True) updates {', '.join(sorted(touched))} but not the other fields of the "
            f"index {column.name}: add {', '.join(sorted(set(column.sources) - touched))} to update_fields"
        )
    query.update_fields = [*query.update_fields, column]


_NOT_LOADED = object()
