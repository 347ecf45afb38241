"""The migrations of a move of files: the table online, no file touched, and each later step one that Django writes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connections, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter

from encrypted_fields import EncryptedFileField, EncryptedImageField, PlaintextField
from encrypted_fields.moving import PlaintextLeft
from encrypted_fields.moving.file_decrypting import FileDecryption
from encrypted_fields.moving.file_encrypting import FileEncryption
from encrypted_fields.moving.table import Table
from encrypted_fields.operations import EncryptField
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.moving.parcels import content
from tests.encrypted_fields.moving.test_operations import Project

FOLDER = FileSystemStorage("/nowhere")  # each test puts it into a place of its own


def storage() -> FileSystemStorage:
    return FOLDER


PERSON = migrations.CreateModel(
    "Person",
    [
        ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
        ("tenant_id", models.TextField()),
        ("scan", models.FileField(upload_to="scans", storage=storage, blank=True)),
    ],
)


def field(state: str | None) -> Any:
    options: dict[str, Any] = {"upload_to": "scans", "storage": storage, "blank": True, "db_column": "scan_encrypted"}
    if state is None:
        return EncryptedFileField(tenant_from="tenant_id", null=True, **options)
    return EncryptedFileField(tenant_from="tenant_id", plaintext="scan_plain", state=state, **options)


ENCRYPT = EncryptField(
    "Person",
    "scan",
    field("plaintext"),
    PlaintextField(models.FileField(upload_to="scans", storage=storage, blank=True, db_column="scan")),
)


class Files(Project):
    def __init__(self, using: str) -> None:
        self.using, self.state = using, ProjectState()
        self.run(PERSON)

    def new(self, data: bytes = b"scan") -> None:
        self.rows.create(tenant_id="north", scan=ContentFile(data, "scan.png"))

    def move(self, kind: Any) -> Any:
        return kind(Table(self.person, self.using), [self.person._meta.get_field("scan")]).run()

    def state_to(self, state: str | None) -> None:
        self.run(migrations.AlterField("Person", "scan", field(state)))


@pytest.fixture
def project(database: str, cmk_tsp: MemoryTsp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setitem(FOLDER.__dict__, "location", str(tmp_path))
    monkeypatch.setitem(FOLDER.__dict__, "base_location", str(tmp_path))
    yield Files(database)
    with connections[database].cursor() as cursor:
        cursor.execute("DROP TABLE clinic_person")


def test_the_whole_way_to_the_end(project: Files) -> None:
    project.new()
    old = project.person
    project.run(ENCRYPT)
    assert project.columns() == {"id": False, "tenant_id": False, "scan": True, "scan_encrypted": True}
    old.objects.using(project.using).create(tenant_id="north")  # the code that still runs
    for state in ("dual", "readable", "encrypted"):
        project.state_to(state)
        done = project.move(FileEncryption)
        assert (done.left, done.overtaken) == ({}, 0)
        assert sorted(content(row.scan) for row in project.rows.all()) == [b"", b"scan"]
    project.run(migrations.RemoveField("Person", "scan_plain"))
    project.state_to(None)
    assert project.columns() == {"id": False, "tenant_id": False, "scan_encrypted": True}
    assert sorted(content(row.scan) for row in project.rows.all()) == [b"", b"scan"]


def test_and_back(project: Files) -> None:
    before = project.run(ENCRYPT)
    project.state_to("encrypted")
    project.new()
    project.rows.create(tenant_id="north")
    with pytest.raises(PlaintextLeft, match="decrypt_existing"):
        project.run(ENCRYPT, back=before)
    project.state_to("dual")
    assert project.move(FileDecryption).written == 1
    project.run(ENCRYPT, back=before)
    assert project.columns() == {"id": False, "tenant_id": False, "scan": False}
    assert sorted(content(row.scan) for row in project.rows.all()) == [b"", b"scan"]


def test_is_written_to_a_file_and_leaves_nothing_for_makemigrations() -> None:
    migration: Any = type("Migration", (migrations.Migration,), {"operations": [PERSON, ENCRYPT]})("0001", "clinic")
    text = MigrationWriter(migration).as_string()
    assert "encrypted_fields.EncryptedFileField" in text
    namespace: dict[str, Any] = {}
    exec(compile(text, "migration.py", "exec"), namespace)
    state = ProjectState()
    for operation in namespace["Migration"].operations:
        operation.state_forwards("clinic", state)
    wanted = ProjectState()
    PERSON.state_forwards("clinic", wanted)
    wanted.models["clinic", "person"].fields.update(scan=field("plaintext"), scan_plain=ENCRYPT.plaintext)
    found = MigrationAutodetector(state, wanted, NonInteractiveMigrationQuestioner())._detect_changes()
    assert found == {}


def test_pictures_are_written_as_pictures() -> None:
    image = EncryptedImageField(upload_to="x", plaintext="image_plain", state="dual", width_field="width")
    image.set_attributes_from_name("image")
    _, path, _, options = image.clone().deconstruct()
    assert path == "encrypted_fields.EncryptedImageField"
    assert (options["state"], options["plaintext"], options["width_field"]) == ("dual", "image_plain", "width")
