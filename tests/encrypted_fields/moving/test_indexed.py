"""A moving field with a blind index: filters find every row in every state, and the index moves with the value."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.exceptions import FieldError, ValidationError
from django.core.management import CommandError, call_command
from django.db import connections

from encrypted_fields import tenant
from encrypted_fields.moving.decrypting import Decryption
from encrypted_fields.moving.encrypting import Encryption
from encrypted_fields.moving.table import Table
from encrypted_fields.testing import MemoryTsp
from tests.sample_app.moving import found
from tests.sample_app.searchable import Customer


def rows(state: str, database: str) -> Any:
    return found(state).objects.using(database)


def fields(state: str) -> list[Any]:
    return [found(state)._meta.get_field(name) for name in ("name", "login")]


def old(database: str, *names: str) -> None:
    for name in names:
        rows("before", database).create(tenant_id="north", name=name, login=name)


def names(found: Any) -> list[str]:
    return sorted(one.name for one in found)


def test_both_columns_are_asked_while_rows_lie_in_either(database: str, cmk_tsp: MemoryTsp) -> None:
    """One row of old code, one of each state: dual and readable find all three, by one filter."""
    old(database, "a", "b")
    for at, state in enumerate(("dual", "readable", "encrypted")):
        rows(state, database).create(tenant_id="north", name="a", login=f"a{at}")
    with tenant("north"):
        for state in ("dual", "readable"):
            now = rows(state, database)
            assert names(now.filter(name="a")) == ["a"] * 4
            assert names(now.filter(name__in=["a", "b"])) == ["a"] * 4 + ["b"]
            assert names(now.exclude(name="a")) == ["b"]
            assert names(now.exclude(name="b")) == ["a"] * 4
            assert names(now.filter(login="a1")) == ["a"]
            assert now.filter(name="c").count() == 0
    assert names(rows("dual", database).filter(tenant_id="north", name="b")) == ["b"]
    with pytest.raises(FieldError):
        rows("readable", database).filter(name__startswith="a")


@pytest.mark.parametrize("state", ["dual", "encrypted"])
def test_encrypt_existing_writes_the_index_in_the_same_statement(state: str, database: str, cmk_tsp: MemoryTsp) -> None:
    old(database, "a", "b")
    assert Encryption(Table(found(state), database), fields(state)).run().written == 4
    with tenant("north"):
        after = rows("after", database)
        assert names(after.filter(name="a")) == ["a"]
        assert names(after.filter(login="b")) == ["b"]
        assert names(after.filter(pair=("b", "b"))) == ["b"]


@pytest.mark.parametrize("state", ["plaintext", "dual", "readable"])
def test_a_duplicate_is_one_of_the_same_tenant_also_in_clear(state: str, database: str, cmk_tsp: MemoryTsp) -> None:
    """The column in clear knows no tenants: what lies there under another one is no duplicate."""
    old(database, "a")
    south, north = (found(state)(tenant_id=name, name="x", login="a") for name in ("south", "north"))
    south._state.db = north._state.db = database
    south.validate_unique()
    with pytest.raises(ValidationError, match="already exists"):
        north.validate_unique()


def test_what_a_unique_index_refuses_is_left_and_told(database: str, cmk_tsp: MemoryTsp) -> None:
    old(database, "a", "a", "b")
    done = Encryption(Table(found("dual"), database), fields("dual")).run()
    assert (done.written, done.left) == (5, {"not unique": 1})
    assert names(rows("dual", database).all()) == ["a", "a", "b"]


def test_the_way_back_takes_the_index_away(database: str, cmk_tsp: MemoryTsp) -> None:
    rows("dual", database).create(tenant_id="north", name="a", login="a")
    assert Decryption(Table(found("plaintext"), database), fields("plaintext")).run().left == {}
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT name_encrypted, name_exact_index, login_unique_index, pair FROM sample_app_found")
        assert cursor.fetchall() == [(None, None, None, None)]


@pytest.mark.django_db
def test_rotate_index_fills_what_is_missing(cmk_tsp: MemoryTsp) -> None:
    for name in ("north", "south"):
        Customer.objects.create(tenant_id=name, email="a@x.org")
    Customer._base_manager.update(phone=None)
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE sample_app_customer SET email_exact_index = NULL")

    def rotated(**options: Any) -> str:
        out = io.StringIO()
        call_command("rotate_index", model=["sample_app.Customer"], stdout=out, **options)
        return out.getvalue()

    assert "would take 2 values" in rotated(dry_run=True)
    assert "1 written" in rotated(tenant="north")
    cmk_tsp.revoke("south")
    with pytest.raises(CommandError, match="1 values are left"):
        rotated()
    cmk_tsp.restore("south")
    assert "1 written" in rotated()
    assert Customer.objects.filter(tenant_id="south", email="a@x.org").count() == 1
    with pytest.raises(CommandError, match="no index"):
        call_command("rotate_index", model=["sample_app.Patient"])
