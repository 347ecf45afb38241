"""Every type of field moves there and back on each database, value by value: by the commands and by the ORM."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import connections, models
from django.db.models import Case, F, Value, When

from encrypted_fields import EncryptedField, PlaintextField
from encrypted_fields.moving.decrypting import Decryption
from encrypted_fields.moving.encrypting import Encryption
from encrypted_fields.moving.table import Table
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.matrix.types import ARRAYS, TYPES
from tests.support.mariadb import MariaDb


@cache
def kinds(state: str, vendor: str) -> Any:
    """A field of each type, as the code of one deploy has it; those that cannot be NULL hold a value first."""
    fields: dict[str, Any] = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "sample_app", "db_table": "moving_kinds", "apps": Apps()}),
        "cmk_tenant_from": "tenant_id",
        "id": models.BigAutoField(primary_key=True),
        "tenant_id": models.CharField(max_length=40),
    }
    for name in names(vendor):
        make = TYPES[name].field
        sealed, clear = f"{name}_sealed", f"{name}_clear"
        if state == "before":
            fields[name] = make(null=True, db_column=clear)
        elif state == "after":
            fields[name] = EncryptedField(make(null=True, db_column=sealed))
        else:
            fields[f"{name}_plain"] = PlaintextField(make(null=True, db_column=clear))
            fields[name] = EncryptedField(make(null=True, db_column=sealed), plaintext=f"{name}_plain", state=state)
    return type("Kinds", (models.Model,), fields)


def names(vendor: str) -> list[str]:
    return [name for name in TYPES if vendor == "postgresql" or name not in ARRAYS]


@pytest.fixture(params=["moving-sqlite", "moving-postgres", "moving-mariadb"])
def place(
    request: pytest.FixtureRequest, _moving_databases: None, django_db_blocker: Any, cmk_tsp: MemoryTsp
) -> Iterator[str]:
    """An alias with an empty table for all types."""
    using: str = request.param
    if using == "moving-mariadb":
        server: MariaDb = request.getfixturevalue("mariadb_server")
        connections.settings[using] = {**connections.settings["default"], "OPTIONS": {}, **server.database()}
    with django_db_blocker.unblock():
        with connections[using].schema_editor() as editor:
            editor.create_model(kinds("dual", connections[using].vendor))
        yield using
        with connections[using].cursor() as cursor:
            cursor.execute("DROP TABLE moving_kinds")
        if using == "moving-mariadb":
            connections[using].close()
            del connections[using], connections.settings[using]


def rows(state: str, using: str) -> Any:
    return kinds(state, connections[using].vendor).objects.using(using)


def values(using: str, at: int) -> dict[str, Any]:
    """The values number `at` of all types; 3: NULL."""
    return {name: None if at == 3 else TYPES[name].values[at] for name in names(connections[using].vendor)}


def held(state: str, using: str) -> list[dict[str, Any]]:
    found = []
    for row in rows(state, using).order_by("id"):
        one = {name: getattr(row, name) for name in names(connections[using].vendor)}
        found.append({name: bytes(value) if isinstance(value, memoryview) else value for name, value in one.items()})
    return found


def job(kind: Any, state: str, using: str) -> Any:
    model = kinds(state, connections[using].vendor)
    fields = [model._meta.get_field(name) for name in names(connections[using].vendor)]
    return kind(Table(model, using), fields)


def test_the_commands_bring_each_value_there_and_back(place: str) -> None:
    count = 3 * len(names(connections[place].vendor))
    wanted = [values(place, at) for at in range(4)]
    for one in wanted:
        rows("before", place).create(tenant_id="north", **one)
    assert held("dual", place) == wanted
    done = job(Encryption, "dual", place).run()
    assert (done.found, done.written, done.left, done.overtaken) == (count, count, {}, 0)
    assert held("after", place) == wanted
    done = job(Encryption, "encrypted", place).run()
    assert (done.written, done.left, done.overtaken) == (count, {}, 0)
    assert held("before", place) == [values(place, 3)] * 4
    done = job(Decryption, "dual", place).run()
    assert (done.written, done.left, done.overtaken) == (count, {}, 0)
    assert job(Decryption, "plaintext", place).run().written == count
    assert held("before", place) == wanted
    assert held("after", place) == [values(place, 3)] * 4


@pytest.mark.parametrize("state", ["plaintext", "dual", "readable"])
def test_the_orm_writes_both_columns_of_each_type(state: str, place: str) -> None:
    row = rows(state, place).create(tenant_id="north", **values(place, 0))
    for at in (1, 2, 3, 0):
        rows(state, place).update(**values(place, at))
        assert held(state, place) == [values(place, at)]
        _agree(state, place)
    for at in (1, 3, 2):
        for name, value in values(place, at).items():
            setattr(row, name, value)
        rows(state, place).bulk_update([row], list(values(place, at)))
        assert held(state, place) == [values(place, at)]
        _agree(state, place)
    change = {}
    for name, value in values(place, 1).items():
        kind: Any = type(row)._meta.get_field(name)
        then = Value(value, output_field=kind)
        change[name] = Case(When(pk=row.pk, then=then), default=F(name), output_field=kind)
    rows(state, place).update(**change)
    assert held(state, place) == [values(place, 1)]
    _agree(state, place)


def _agree(state: str, using: str) -> None:
    """Code of the neighbouring deploys reads the same."""
    for other in {"plaintext": ("before",), "dual": ("plaintext", "after"), "readable": ("after",)}[state]:
        assert held(other, using) == held(state, using)
