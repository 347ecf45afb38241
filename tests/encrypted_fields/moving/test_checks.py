"""System checks of a move, and its Celery tasks."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from celery import Celery
from django.apps.registry import Apps
from django.core import checks
from django.db import connections, models

from encrypted_fields import EncryptedField, PlaintextField
from encrypted_fields.moving import checks as ours
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.moving.test_commands import movers
from tests.encrypted_fields.moving.test_encrypt import old_rows
from tests.encrypted_fields.moving.test_states import Deploy
from tests.sample_app.moving import Mover, member
from tests.support.processes import ROOT


def ids(found: list[Any]) -> list[str]:
    return [one.id.removeprefix("encrypted_fields.") for one in found]


def moving(state: str, reader: str | None = None, plaintext: str = "name_plain") -> Any:
    column = models.TextField(db_column="name")
    return type("Row", (models.Model,), {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "peer", "apps": Apps()}),
        "name_plain": PlaintextField(column, reader=reader),
        "name": EncryptedField(models.TextField(db_column="name_encrypted"), plaintext=plaintext, state=state),
    })  # fmt: skip


@pytest.mark.parametrize("state", ["plaintext", "dual", "readable", "encrypted"])
def test_a_move_is_no_fault(state: str) -> None:
    assert ids(moving(state).check()) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"state": "dual", "reader": "djfernet"}, ["E042"]),
        ({"state": "plaintext", "reader": "djfernet"}, ["E042"]),
        ({"state": "readable", "reader": "djfernet"}, []),
        ({"state": "readable", "reader": "rot13"}, ["E043"]),
        ({"state": "dual", "plaintext": "id"}, ["E041"]),
        ({"state": "dual", "plaintext": "other"}, ["E041"]),
    ],
)
def test_what_cannot_work_is_told(options: dict[str, Any], expected: list[str]) -> None:
    assert ids(moving(**options).check()) == expected


@pytest.mark.parametrize("options", [{"plaintext": "x"}, {"state": "dual"}, {"plaintext": "x", "state": "y"}])
def test_half_a_move_is_a_programmers_mistake(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state of plaintext, dual, readable, encrypted"):
        EncryptedField(models.TextField(), **options)


def test_a_field_that_changes_its_own_value_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be moved"):
        EncryptedField(models.DateTimeField(auto_now=True), plaintext="x", state="dual")


def test_deploy_fails_while_plaintext_is_left(
    database: str, cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = member("encrypted")
    monkeypatch.setattr(ours, "_moving", lambda: iter([model._meta.get_field("name"), model._meta.get_field("born")]))
    Deploy("encrypted", database).new()
    assert ours.check_deploy(databases=[database]) == []
    old_rows(database, 1)
    (found,) = ours.check_deploy(databases=[database])
    assert found.id == "encrypted_fields.E040"
    assert found.level == checks.ERROR
    assert ids(ours.check_rows(databases=[database])) == ["E040"]
    assert ours.check_rows(databases=None) == []
    with connections[database].cursor() as cursor:
        cursor.execute("ALTER TABLE sample_app_member RENAME TO elsewhere")
    try:
        assert ours.check_rows(databases=[database]) == []  # before the first migration
    finally:
        with connections[database].cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO sample_app_member")


def test_deploy_tells_what_is_under_way() -> None:
    assert {one.obj for one in ours.check_deploy(databases=[]) if one.id.endswith("W040")} >= {
        Mover._meta.get_field("name"), Mover._meta.get_field("born"),
    }  # fmt: skip


def test_the_tasks_do_what_the_commands_do(database: str, cmk_tsp: MemoryTsp) -> None:
    from encrypted_fields.moving import tasks

    app = Celery(set_as_current=False)
    app.finalize()
    assert {name for name in app.tasks if name.startswith("encrypted_fields.")} >= {
        f"encrypted_fields.{name}" for name in ("encrypt_existing", "decrypt_existing", "rekey", "encryption_status")
    }
    movers(database, 3)
    del cmk_tsp.calls[:]
    (told,) = tasks.encrypt_existing("sample_app.Mover", using=database, tenant="north")
    assert (told["written"], told["left"]) == (6, {})
    assert dict(cmk_tsp.calls[0].about.custom) == {"command": "encrypt_existing"}
    assert tasks.decrypt_existing("sample_app.Mover", using=database)[0]["found"] == 0
    assert tasks.rekey("sample_app.Mover", field="name", using=database, every=True)[0]["written"] == 3
    assert tasks.encryption_status("sample_app.Mover", "born", using=database)[0]["both"] == 3


def test_each_check_is_in_the_errors_page() -> None:
    named = set(re.findall(r"\b[EW]04\d\b", inspect.getsource(ours)))
    page = (ROOT / "docs" / "errors.md").read_text()
    assert named == set(re.findall(r"^\| encrypted_fields\.([EW]04\d) \|", page, re.MULTILINE))
