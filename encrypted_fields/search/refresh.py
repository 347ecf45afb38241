"""Index columns filled or made anew: after an index was added, and in a rotation. Safe beside concurrent writers.

A row is written only if its sealed values are still those that the index value was made of; who wrote in between has
written the index too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections, models, router
from django.db.models import Q

from encrypted_fields import index_keys
from encrypted_fields.conf import BATCH
from encrypted_fields.core.blind import HEAD, head
from encrypted_fields.core.errors import WITHDRAWN, KmsRefused
from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.writing import parameter
from encrypted_fields.search.column import IndexColumn

_IN_CLEAR: Final = b""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one batch. `locked`: rows whose tenant withdrew access. `raced`: somebody else wrote them meanwhile."""

    seen: int
    written: int
    locked: int
    raced: int
    last: Any


def index_columns(model: type[models.Model]) -> list[IndexColumn]:
    """Of the model's own table."""
    return [one for one in model._meta.local_fields if isinstance(one, IndexColumn)]


def unfilled(column: IndexColumn) -> Q:
    """Rows that searches do not find although all that is indexed is there."""
    there = Q(**{f"{name}__isnull": False for name in column.sources})
    return there & Q(**{f"{column.name}__isnull": True})


def refresh_indexes(
    model: type[models.Model],
    *,
    using: str | None = None,
    columns: Sequence[IndexColumn] | None = None,
    rows: Q | None = None,
    after: Any = None,
    batch: int = BATCH,
    dry_run: bool = False,
) -> Iterator[Progress]:
    """Go through the rows by primary key and write each index value that is missing or of another secret than new
    values get. One call of the proxy for a batch and tenant, and none for rows that are right.

    Waits up to CMK_INDEX_KEY_SECONDS for a tenant whose rotation has just begun: until no process writes with the older
    secret any more. `rows` narrows them (a tenant, for one), `after` continues behind a primary key, `dry_run` only
    counts.
    """
    alias = using or router.db_for_write(model)
    wanted = list(columns if columns is not None else index_columns(model))
    if not wanted:
        return
    while True:
        found: Any = model._base_manager.using(alias).order_by("pk")
        if rows is not None:
            found = found.filter(rows)
        if after is not None:
            found = found.filter(pk__gt=after)
        block = list(found[:batch])
        if not block:
            return
        yield _refresh(block, wanted, alias, dry_run=dry_run)
        after = block[-1].pk


def _refresh(block: list[models.Model], columns: list[IndexColumn], using: str, *, dry_run: bool) -> Progress:
    written = locked = raced = 0
    states: dict[str, index_keys.Live] = {}
    connection = connections[using]
    for row in block:
        sealed = _sealed(row, columns)  # before anything is opened
        try:
            made = {column: _made(row, column, states) for column in columns}
        except WITHDRAWN:
            locked += 1
            continue
        new = {
            column: value[0]
            for column, value in made.items()
            if value is not None and all(sealed[field] is not _IN_CLEAR for field in column.fields)
        }
        if not new:
            continue
        if dry_run or _write(row, new, sealed, connection):
            written += 1
        else:
            raced += 1
    return Progress(len(block), written, locked, raced, block[-1].pk)


def _made(row: models.Model, column: IndexColumn, states: dict[str, index_keys.Live]) -> tuple[bytes | None] | None:
    """The value that the column should hold; None when it holds it, as far as its secret's number tells. Raises the
    refusal of a tenant that withdrew access."""
    stored = row.__dict__[column.attname]
    if any(row.__dict__[field.attname] is None for field in column.fields):
        return None if stored is None else (None,)
    whose = column.binding.tenant_of(row)
    if whose not in states:
        states[whose] = index_keys.settle(whose)
    secret = column.secret(states[whose])
    if stored is not None and bytes(stored[:HEAD]) == head(secret.number):
        return None
    values = [getattr(row, field.attname) for field in column.fields]
    if any(isinstance(one, Locked) for one in values):
        raise KmsRefused
    encoded = column.encode(values)
    return (None if encoded is None else column.stored(whose, secret, encoded),)


def _sealed(row: models.Model, columns: list[IndexColumn]) -> dict[Any, bytes | None]:
    """What is stored in the fields that are indexed; _IN_CLEAR for a value that is not sealed yet (docs/moving.md)."""
    found: dict[Any, bytes | None] = {}
    for field in {field for column in columns for field in column.fields}:
        value = row.__dict__[field.attname]
        value = value.sealed if isinstance(value, Locked) else value
        found[field] = value.stored(field) if isinstance(value, Sealed) else None if value is None else _IN_CLEAR
    return found


def _write(
    row: models.Model, new: dict[IndexColumn, bytes | None], sealed: dict[Any, bytes | None], connection: Any
) -> bool:
    quote = connection.ops.quote_name
    changes, conditions, params = [], [], list[Any]()
    for column, value in new.items():
        sql, some = ("NULL", []) if value is None else parameter(value, connection)
        changes.append(f"{quote(column.column)} = {sql}")
        params += some
    pk: Any = row._meta.pk
    conditions.append(f"{quote(pk.column)} = %s")
    params.append(pk.get_db_prep_value(row.pk, connection))
    for field in {field for column in new for field in column.fields}:
        if sealed[field] is None:
            conditions.append(f"{quote(field.column)} IS NULL")
        else:
            sql, some = parameter(sealed[field] or b"", connection)
            conditions.append(f"{quote(field.column)} = {sql}")
            params += some
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(row._meta.db_table)} SET {', '.join(changes)}"  # noqa: S608 - names from the model
            f" WHERE {' AND '.join(conditions)}",
            params,
        )
        return bool(cursor.rowcount)
