"""Values on their way to the database: sealed when the whole statement is known, with one key a row.

Django lets a prepared value speak SQL for itself (`as_sql(compiler, connection)`), after all rows of the statement
have been prepared. There the rows of an INSERT are `compiler.query.objs` and the values of an UPDATE are
`compiler.query.values`, so that keys for all of them come in one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.constants import OnConflict
from django.db.models.expressions import DatabaseDefault, Value
from django.db.models.sql.compiler import SQLInsertCompiler, SQLUpdateCompiler

from encrypted_fields.core.aead import Nonces
from encrypted_fields.fields.binding import Binding
from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.stored import Stored
from encrypted_fields.keys import RowKey, fresh_keys

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField


_NOT_PLAIN = frozenset({type(None), Sealed, Locked, Stored})


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
        return Statement.of(compiler).parameter(self)

    def __repr__(self) -> str:
        return "<Pending>"


class Statement:
    """One INSERT or UPDATE: it is sealed at the first question, row by row, with all keys from one call."""

    @classmethod
    def of(cls, compiler: Any) -> Statement:
        found: Statement | None = compiler.__dict__.get("cmk_statement")
        if found is None:
            found = compiler.cmk_statement = Statement(compiler, compiler.connection)
        return found

    def __init__(self, compiler: Any, connection: Any) -> None:
        self._query, self._connection = compiler.query, connection
        self._inserts = isinstance(compiler, SQLInsertCompiler)
        # psycopg spends more on a placeholder than on what it stands for; hex is safe in any literal
        self._literal = connection.vendor == "postgresql" and self._inserts and len(self._query.objs) > 1
        self._nonces = Nonces()
        self._sealed: dict[int, dict[str, bytes]] = {}  # by row, then by attribute
        self._seen: set[Any] = set()
        self._kept: dict[int, tuple[RowKey, str]] = {}  # of rows whose primary key the database is about to make

    def parameter(self, pending: Pending) -> tuple[str, list[Any]]:
        stored = self.stored(pending)
        return (f"decode('{stored.hex()}', 'hex')", []) if self._literal else parameter(stored, self._connection)

    def stored(self, pending: Pending) -> bytes:
        field, row = pending.field, pending.instance
        binding: Binding = field.binding
        group = binding.tenant_from, binding.own_label
        if group not in self._seen:
            self._seen.add(group)
            if self._inserts:
                fields = [
                    one for one in self._query.fields if is_encrypted(one) and one.binding.shares_key_with(binding)
                ]
                _refuse_upsert(self._query, fields)
                self._seal(fields, self._query.objs)
            else:
                values = [one for _, _, one in self._query.values if isinstance(one, Pending)]
                self._seal([one.field for one in values if one.field.binding.shares_key_with(binding)], [row])
        found = self._sealed.get(id(row), {}).get(field.attname)
        if found is None or _plain(row.__dict__.get(field.attname)) is not pending.value:
            return self._one(pending)
        return found

    def _seal(self, fields: list[Any], rows: Iterable[models.Model]) -> None:
        """`fields` share the key of their row."""
        binding: Binding = fields[0].binding
        names = [one.attname for one in fields]
        wanted: dict[str, list[models.Model]] = {}
        for row in rows:
            data = row.__dict__
            for name in names:
                if type(data.get(name)) not in _NOT_PLAIN:
                    wanted.setdefault(binding.tenant_of(row), []).append(row)
                    break
        binds = any(one.binding.binds_row for one in fields)
        for tenant, members in wanted.items():
            plans = [
                (one.attname, one.codec.dump, one.binding.prefix(tenant, one.binding.binds_row), one.binding.binds_row)
                for one in fields
            ]
            for row, (key, edek) in zip(members, self._keys(binding, tenant, members), strict=True):
                free, bound = binding.heads(edek)
                data, found, place = row.__dict__, self._sealed.setdefault(id(row), {}), b""
                if binds:
                    pk = data[binding.pk.attname]
                    if pk is None or isinstance(pk, DatabaseDefault):
                        self._kept[id(row)] = RowKey(key, edek), tenant
                    else:
                        place = binding.row_part(pk)
                for name, dump, prefix, here in plans:
                    value = data.get(name)
                    if type(value) is Value:
                        value = value.value
                    if type(value) in _NOT_PLAIN:
                        continue
                    if here and place:
                        found[name] = bound + key.seal(dump(value), prefix + place, self._nonces)
                    elif not here:
                        found[name] = free + key.seal(dump(value), prefix, self._nonces)

    def _one(self, pending: Pending) -> bytes:
        """A value that its row does not show, as a fixture may have it, or whose row has just got its key."""
        field, row = pending.field, pending.instance
        binding: Binding = field.binding
        if id(row) in self._kept:
            (key, edek), tenant = self._kept[id(row)]
        else:
            tenant = binding.tenant_of(row)
            ((key, edek),) = self._keys(binding, tenant, [row])
        place = binding.row(getattr(row, binding.pk.attname))
        return binding.seal(field.codec.dump(pending.value), key, edek, tenant, place)

    def _keys(self, binding: Binding, tenant: str, rows: list[models.Model]) -> Iterator[RowKey]:
        pk = rows[0].pk
        about = str(pk) if len(rows) == 1 and pk is not None else None
        return fresh_keys(tenant, len(rows), label=binding.label, object_id=about)


def _plain(value: Any) -> Any:
    return value.value if type(value) is Value else value


def needs_key(value: Any) -> bool:
    return type(value) not in _NOT_PLAIN


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
    # psycopg takes bytes as they are: its Binary() costs twice as much and sends the same
    value = stored if connection.vendor == "postgresql" else connection.Database.Binary(stored)
    return connection.ops.binary_placeholder_sql(value), [value]
