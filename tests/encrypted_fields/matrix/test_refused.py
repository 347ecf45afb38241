"""What would be silently wrong on ciphertext is refused, for each type on each database, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db.transaction import atomic, set_rollback

from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.matrix.conftest import DATABASES
from tests.encrypted_fields.matrix.models import SHAPES, Family
from tests.encrypted_fields.matrix.refused import REFUSED
from tests.encrypted_fields.matrix.sides import Side, stored
from tests.encrypted_fields.matrix.types import TYPES

GROUPS: dict[Family, list[str]] = {}  # the tables, and the types that share them
for _name, (_, _sealed) in SHAPES["uuid"].items():
    GROUPS.setdefault(_sealed, []).append(_name)


@pytest.fixture(scope="module")
def _a_row_in_each_table(_matrix_databases: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), MemoryTsp(), ExitStack() as transactions:
        for database in DATABASES:
            transactions.enter_context(atomic(using=database))
            for family, names in GROUPS.items():
                side = Side(family, database, database)
                row = side.new(label="canary", **{name: TYPES[name].values[1] for name in names})
                side.link.objects.using(database).create(row=row, word="w")
        yield
        for database in DATABASES:
            set_rollback(True, using=database)


@pytest.mark.usefixtures("matrix_databases", "_a_row_in_each_table", "cmk_tsp")
@pytest.mark.parametrize("operation", REFUSED)
@pytest.mark.parametrize("database", DATABASES)
def test_refuses_what_would_be_silently_wrong(database: str, operation: str) -> None:
    run, errors = REFUSED[operation]
    wrong = {}
    for family, names in GROUPS.items():
        side = Side(family, database, database)
        before = [stored(side, side.row, name) for name in names]
        for name in names:
            try:
                with atomic(using=database):
                    run(side, name, TYPES[name].values[1])
            except errors:
                pass
            except Exception as error:
                wrong[name] = repr(error)
            else:
                wrong[name] = "not refused"
        assert [stored(side, side.row, name) for name in names] == before
    assert wrong == {}
