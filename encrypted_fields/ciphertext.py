"""Escape hatches: the stored bytes of a value, and values sealed by hand, for COPY and whatever goes past the ORM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import connections, models, router

from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.stored import Stored
from encrypted_fields.keys import RowKey, new_keys


def ciphertext_for(obj: models.Model, field: str) -> bytes | None:
    """What lies in the database for this field of this row, read past the ORM; None for NULL. Asks for no key."""
    found = obj._meta.get_field(field)
    if not isinstance(found, models.Field) or not found.concrete:
        raise TypeError(f"{field} is not a column")
    model = found.model
    connection = connections[obj._state.db or router.db_for_read(model)]
    pk = model._meta.pk
    quote: Any = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {quote(found.column)} FROM {quote(model._meta.db_table)}"  # noqa: S608 - names from the model
            f" WHERE {quote(pk.column)} = %s",
            [pk.get_db_prep_value(getattr(obj, pk.attname), connection)],
        )
        row = cursor.fetchone()
    if row is None:
        raise ObjectDoesNotExist(f"the row is not in the database: {model._meta.label}")
    return None if row[0] is None else bytes(row[0])


def sealed_rows(rows: Sequence[models.Model], *fields: str) -> list[dict[str, bytes | None]]:
    """The values of each row, sealed for it as `save()` would: one key a row, 1,000 rows of a tenant in one call.

    For COPY and for other programs that insert. The rows need their tenants, and their primary keys where the field
    binds rows. What nobody has opened is given as it is stored. `fields`: all encrypted ones.
    """
    found: list[dict[str, bytes | None]] = [{} for _ in rows]
    waiting: dict[tuple[str, str], dict[int, list[Any]]] = {}
    for number, row in enumerate(rows):
        for field in _encrypted(row, fields):
            found[number][field.name] = stored = held(row, field)
            if stored is None and row.__dict__.get(field.attname) is not None:
                group = field.binding.tenant_of(row), field.binding.label
                waiting.setdefault(group, {}).setdefault(number, []).append(field)
    for (tenant, label), members in waiting.items():
        keys = new_keys(tenant, len(members), label=label)
        for (number, some), key in zip(members.items(), keys, strict=True):
            for field in some:
                found[number][field.name] = _seal(rows[number], field, tenant, key)
    return found


def sealed_value(obj: models.Model, field: Any) -> bytes | None:
    """The bytes of one value: as they came from the database, or sealed now if it was changed or looked at."""
    if field.attname not in obj.__dict__:
        obj.refresh_from_db(fields=[field.name])  # was deferred
    return sealed_rows([obj], field.name)[0][field.name]


def _encrypted(row: models.Model, names: Sequence[str]) -> list[Any]:
    fields = {one.name: one for one in row._meta.concrete_fields if getattr(one, "cmk_encrypted", False)}
    strange = [name for name in names if name not in fields]
    if strange:
        raise TypeError(f"{row._meta.label}.{strange[0]} is not an encrypted field")
    return [fields[name] for name in names or fields]


def held(row: models.Model, field: Any) -> bytes | None:
    """The stored bytes that came with the row, if nobody has opened them yet."""
    value = row.__dict__.get(field.attname)
    if isinstance(value, Locked):
        value = value.sealed
    if isinstance(value, Stored):
        return value.data
    return value.stored(field) if isinstance(value, Sealed) else None


def _seal(row: models.Model, field: Any, tenant: str, key: RowKey) -> bytes:
    binding = field.binding
    place = binding.row(getattr(row, binding.pk.attname))
    sealed: bytes = binding.seal(field.codec.dump(row.__dict__[field.attname]), key.key, key.edek, tenant, place)
    return sealed
