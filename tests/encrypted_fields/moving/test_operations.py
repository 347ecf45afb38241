"""The migrations of a move: on the table online, forwards and back, and each later step is one that Django writes."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connections, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter

from encrypted_fields import EncryptedField, PlaintextField
from encrypted_fields.moving import PlaintextLeft
from encrypted_fields.moving.encrypting import Encryption
from encrypted_fields.moving.table import Table
from encrypted_fields.operations import EncryptField
from encrypted_fields.testing import MemoryTsp

PERSON = migrations.CreateModel(
    "Person",
    [
        ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
        ("tenant_id", models.TextField()),
        ("name", models.CharField(max_length=40, unique=True)),
    ],
)


def field(state: str | None) -> Any:
    inner = models.CharField(max_length=40, db_column="name_encrypted", null=state is None)
    if state is None:
        return EncryptedField(inner, tenant_from="tenant_id")
    return EncryptedField(inner, tenant_from="tenant_id", plaintext="name_plain", state=state)


ENCRYPT = EncryptField(
    "Person",
    "name",
    field("plaintext"),
    PlaintextField(models.CharField(max_length=40, unique=True, db_column="name")),
)


class Project:
    """A database that migrates step by step."""

    def __init__(self, using: str) -> None:
        self.using, self.state = using, ProjectState()
        self.run(PERSON)

    def run(self, operation: Any, *, back: ProjectState | None = None) -> ProjectState:
        """The state before, to go back to."""
        connection, before = connections[self.using], self.state.clone()
        with connection.schema_editor() as editor:
            if back is not None:
                operation.database_backwards("clinic", editor, before, back)
                self.state = back
            else:
                operation.state_forwards("clinic", self.state)
                operation.database_forwards("clinic", editor, before, self.state)
        return before

    @property
    def person(self) -> Any:
        return self.state.apps.get_model("clinic", "Person")

    @property
    def rows(self) -> Any:
        return self.person.objects.using(self.using)

    def columns(self) -> dict[str, bool]:
        """Columns of the table, and whether they allow NULL."""
        connection = connections[self.using]
        with connection.cursor() as cursor:
            found = connection.introspection.get_table_description(cursor, "clinic_person")
        return {one.name: bool(one.null_ok) for one in found}


@pytest.fixture
def project(database: str, cmk_tsp: MemoryTsp) -> Any:
    yield Project(database)
    with connections[database].cursor() as cursor:
        cursor.execute("DROP TABLE clinic_person")


def test_the_first_step_adds_a_column_and_keeps_every_value(project: Project, cmk_tsp: MemoryTsp) -> None:
    project.rows.create(tenant_id="north", name="Ann")
    old = project.person
    project.run(ENCRYPT)
    assert project.columns() == {"id": False, "tenant_id": False, "name": True, "name_encrypted": True}
    assert project.rows.get().name == "Ann"
    old.objects.using(project.using).create(tenant_id="north", name="Bob")  # the code that still runs
    assert {one.name for one in project.rows.all()} == {"Ann", "Bob"}
    assert not cmk_tsp.calls


def test_the_whole_way_to_the_end(project: Project) -> None:
    project.rows.create(tenant_id="north", name="Ann")
    project.run(ENCRYPT)
    for state in ("dual", "encrypted"):
        project.run(migrations.AlterField("Person", "name", field(state)))
        name = project.person._meta.get_field("name")
        assert Encryption(Table(project.person, project.using), [name]).run().left == {}
    assert project.rows.get().name == "Ann"
    project.run(migrations.RemoveField("Person", "name_plain"))
    project.run(migrations.AlterField("Person", "name", field(None)))
    assert project.columns() == {"id": False, "tenant_id": False, "name_encrypted": True}
    assert project.rows.get().name == "Ann"


def test_goes_back_as_long_as_all_is_in_clear(project: Project) -> None:
    project.rows.create(tenant_id="north", name="Ann")
    before = project.run(ENCRYPT)
    project.run(ENCRYPT, back=before)
    assert project.columns() == {"id": False, "tenant_id": False, "name": False}
    assert project.rows.get().name == "Ann"


def test_does_not_go_back_over_a_value_that_is_only_sealed(project: Project) -> None:
    before = project.run(ENCRYPT)
    project.run(migrations.AlterField("Person", "name", field("encrypted")))
    project.rows.create(tenant_id="north", name="Ann")
    with pytest.raises(PlaintextLeft, match="decrypt_existing"):
        project.run(ENCRYPT, back=before)
    assert project.rows.get().name == "Ann"


def test_a_column_of_another_name_is_refused(project: Project) -> None:
    wrong = EncryptField("Person", "name", field("plaintext"), PlaintextField(models.CharField(max_length=40)))
    with pytest.raises(ValueError, match="db_column='name'"):
        project.run(wrong)
    assert project.columns()["name"] is False


def test_is_written_to_a_file_and_leaves_nothing_for_makemigrations() -> None:
    migration: Any = type("Migration", (migrations.Migration,), {"operations": [PERSON, ENCRYPT]})("0001", "clinic")
    text = MigrationWriter(migration).as_string()
    namespace: dict[str, Any] = {}
    exec(compile(text, "migration.py", "exec"), namespace)
    state = ProjectState()
    for operation in namespace["Migration"].operations:
        operation.state_forwards("clinic", state)
    wanted = ProjectState()
    PERSON.state_forwards("clinic", wanted)
    wanted.models["clinic", "person"].fields.update(name=field("plaintext"), name_plain=ENCRYPT.plaintext)
    found = MigrationAutodetector(state, wanted, NonInteractiveMigrationQuestioner())._detect_changes()
    assert found == {}
