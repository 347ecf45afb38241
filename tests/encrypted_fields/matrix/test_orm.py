"""Each operation of the ORM on each type of field on each database ends as it does on a plain field (issue 4)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from django.db import DatabaseError
from django.db.transaction import atomic, set_rollback

from encrypted_fields.core import envelope
from tests.encrypted_fields.matrix import kinds, reads, writes
from tests.encrypted_fields.matrix.conftest import DATABASES
from tests.encrypted_fields.matrix.models import SHAPES
from tests.encrypted_fields.matrix.same import READING, SAME
from tests.encrypted_fields.matrix.sides import Side, stored
from tests.encrypted_fields.matrix.types import ARRAYS, TYPES

TWO_DATABASES = {"save_to_another_database"}

pytestmark = pytest.mark.usefixtures("matrix_databases", "cmk_tsp")


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


def outcome(operation: str, side: Side, name: str, values: tuple[Any, Any, Any]) -> Any:
    databases = {side.db, side.other} if operation in TWO_DATABASES else {side.db}
    try:
        with ExitStack() as transactions:
            for database in databases:
                transactions.enter_context(atomic(using=database))
            found = comparable(SAME[operation](side, name, *values), name)
            if getattr(side.field(name), "cmk_encrypted", False):
                for value in stored(side, side.child if operation == "column_of_a_child" else side.row, name):
                    envelope.parse(value)
            for database in databases:
                set_rollback(True, using=database)
        return found
    except Exception as error:
        return Raised(error)


assert all((kinds, reads, writes))  # imported for what they list
# what is only read is read alike, whoever made the key; and to what a value is bound does not depend on its type
CASES = [(operation, shape) for shape in SHAPES for operation in SAME if shape == "uuid" or operation not in READING]
NAMES = {"uuid": list(TYPES), "bound": ["text", "integer", "flag", "date", "json", "binary", "array"]}


@pytest.mark.parametrize(("operation", "shape"), CASES)
@pytest.mark.parametrize("database", DATABASES)
def test_behaves_as_the_plain_field_does(database: str, operation: str, shape: str) -> None:
    other = DATABASES[(DATABASES.index(database) + 1) % len(DATABASES)]
    wrong = {}
    for name in NAMES[shape]:
        plain, sealed = SHAPES[shape][name]
        twin, plain_name, values = Side(plain, database, other), name, TYPES[name].values
        if name in ARRAYS and (database != "postgres" or operation in TWO_DATABASES):
            # only PostgreSQL has plain arrays: elsewhere JSON knows what becomes of a list
            twin, plain_name = Side(SHAPES[shape]["json"][0], database, other), "json"
        expected = outcome(operation, twin, plain_name, values)
        if isinstance(expected, Raised) and isinstance(expected.error, DatabaseError):
            # this database has no such SQL for the plain column
            expected = outcome(operation, Side(plain, "postgres", "sqlite"), name, values)
        found = outcome(operation, Side(sealed, database, other), name, values)
        if found != expected:
            wrong[name] = {"plain": expected, "encrypted": found}
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())
