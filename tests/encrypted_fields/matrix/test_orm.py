"""Each operation of the ORM on each type of field on each database: as the plain field does, or refused (issue 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.db import DatabaseError, connections, models
from django.db.transaction import atomic, set_rollback

from encrypted_fields.core import envelope
from tests.encrypted_fields.matrix.conftest import DATABASES
from tests.encrypted_fields.matrix.models import SHAPES, Family
from tests.encrypted_fields.matrix.refused import REFUSED
from tests.encrypted_fields.matrix.same import SAME
from tests.encrypted_fields.matrix.types import ARRAYS, TYPES

TWO_DATABASES = {"save_to_another_database"}

pytestmark = pytest.mark.usefixtures("matrix_databases", "cmk_tsp")


@dataclass(frozen=True)
class Side:
    """The models of one side, plain or encrypted, in one database."""

    family: Family
    db: str
    other: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)

    @property
    def rows(self) -> Any:
        return self.row.objects.using(self.db)

    @property
    def connection(self) -> Any:
        return connections[self.db]

    def field(self, name: str) -> Any:
        return self.row._meta.get_field(name)

    def new(self, **values: Any) -> Any:
        return self.rows.create(**values)

    def one(self, *names: str) -> Any:
        """As instances have it: what values() say is asked apart."""
        row = self.rows.get()
        return tuple(getattr(row, name) for name in names)

    def all(self, *names: str) -> Any:
        return [tuple(getattr(row, name) for name in names) for row in self.rows.order_by("number")]


class Raised:
    """Errors are compared by their kind, and shown with their text."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raised) and type(self.error).__name__ == type(other.error).__name__

    def __repr__(self) -> str:
        return repr(self.error)


def comparable(found: Any, column: str) -> Any:
    """With the types of values. Plain PostgreSQL columns give a memoryview where encrypted ones give bytes."""
    if isinstance(found, memoryview):
        found = bytes(found)
    if isinstance(found, dict):
        return {"it" if key == column else key: comparable(value, column) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [comparable(one, column) for one in found]
    return type(found).__name__, found


def outcome(operation: Any, side: Side, name: str, values: tuple[Any, Any, Any]) -> Any:
    try:
        with atomic(using=side.db), atomic(using=side.other):
            found = comparable(operation(side, name, *values), name)
            if getattr(side.field(name), "cmk_encrypted", False):
                for model in (side.row, side.child):
                    for value in stored(side, model, name):
                        envelope.parse(value)
            set_rollback(True, using=side.db)
            set_rollback(True, using=side.other)
        return found
    except Exception as error:
        return Raised(error)


def stored(side: Side, model: type[models.Model], name: str) -> list[bytes]:
    quote = side.connection.ops.quote_name
    meta = model._meta.get_field(name).model._meta
    with side.connection.cursor() as cursor:
        cursor.execute(f"SELECT {quote(name)} FROM {quote(meta.db_table)} WHERE {quote(name)} IS NOT NULL")
        return [bytes(row[0]) for row in cursor.fetchall()]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operation", SAME)
@pytest.mark.parametrize("database", DATABASES)
def test_behaves_as_the_plain_field_does(database: str, operation: str, shape: str) -> None:
    other = DATABASES[(DATABASES.index(database) + 1) % len(DATABASES)]
    wrong = {}
    for name, (plain, sealed) in SHAPES[shape].items():
        twin, plain_name, values = Side(plain, database, other), name, TYPES[name].values
        if name in ARRAYS and (database != "postgres" or operation in TWO_DATABASES):
            # only PostgreSQL has plain arrays: elsewhere JSON knows what becomes of a list
            twin, plain_name = Side(SHAPES[shape]["json"][0], database, other), "json"
        expected = outcome(SAME[operation], twin, plain_name, values)
        if isinstance(expected, Raised) and isinstance(expected.error, DatabaseError):
            # this database has no such SQL for the plain column
            expected = outcome(SAME[operation], Side(plain, "postgres", "sqlite"), name, values)
        found = outcome(SAME[operation], Side(sealed, database, other), name, values)
        if found != expected:
            wrong[name] = {"plain": expected, "encrypted": found}
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())


@pytest.mark.parametrize("operation", REFUSED)
@pytest.mark.parametrize("database", DATABASES)
def test_refuses_what_would_be_silently_wrong(database: str, operation: str) -> None:
    run, errors = REFUSED[operation]
    wrong = {}
    for name, (_, sealed) in SHAPES["uuid"].items():
        side, value = Side(sealed, database, database), TYPES[name].values[1]
        with atomic(using=database):
            row = side.new(**{name: value}, label="canary")
            side.link.objects.using(database).create(row=row, word="w")
            before = stored(side, side.row, name)
            try:
                with atomic(using=database):
                    run(side, name, value)
            except errors:
                pass
            except Exception as error:
                wrong[name] = repr(error)
            else:
                wrong[name] = "not refused"
            if stored(side, side.row, name) != before:
                wrong[name] = "written"
            set_rollback(True, using=database)
    assert wrong == {}
