"""Rows that get other files while a command is at work: nobody is overwritten, and nothing is lost. On MariaDB, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connections

from encrypted_fields.moving.file_decrypting import FileDecryption
from encrypted_fields.moving.file_encrypting import FileEncryption
from encrypted_fields.moving.file_job import Cell
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.moving.parcels import Rows, disturbed, keep_in, kinds, names, old_rows, stored
from tests.sample_app.parcels import Parcel
from tests.support.mariadb import MariaDb


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Path:
    keep_in(FileSystemStorage(tmp_path), monkeypatch)
    return tmp_path


@pytest.mark.parametrize("writer", ["plaintext", "dual", "readable"])
@pytest.mark.parametrize("job", ["dual", "readable"])
def test_a_writer_is_never_overwritten(
    writer: str, job: str, database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_rows(database, 1)

    def write() -> None:
        row = Rows(writer, database).all.get()
        row.slip = ContentFile(b"newer", "newer.txt")
        row.save()

    disturbed(monkeypatch, write)
    done = Rows(job, database).job(FileEncryption).run()
    assert (done.overtaken, done.left) == (0, {})
    assert Rows(job, database).read() == Rows("readable", database).read() == [b"newer"]
    lying = {one for pair in names(database) for one in pair if one}
    assert {name for name in stored(folder) if "newer" in name} == lying


def test_a_row_that_is_deleted_meanwhile_leaves_no_sealed_file(
    database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_rows(database, 1)
    disturbed(monkeypatch, lambda: Rows("dual", database).all.all().delete())
    Rows("dual", database).job(FileEncryption).run()
    assert [name for name in stored(folder) if "_" in name] == []


@pytest.mark.parametrize("kind", [FileEncryption, FileDecryption])
def test_a_file_that_is_gone_since_it_was_replaced_is_looked_at_again(
    kind: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who was faster than the reading of it; it is not told as missing."""
    state = "readable" if kind is FileEncryption else "dual"
    Rows("before" if kind is FileEncryption else "encrypted", database).new(b"old", "old.txt")
    rows = Rows(state, database)
    original, todo = kind._files, [True]

    def files(self: Any, *arguments: Any) -> None:
        if todo and todo.pop():
            row = Rows(state, database).all.get()
            left = row.slip.name
            row.slip = ContentFile(b"newer", "newer.txt")
            row.save()
            row.slip.storage.delete(left)
        original(self, *arguments)

    monkeypatch.setattr(kind, "_files", files)
    done = rows.job(kind).run()
    assert (done.left, done.overtaken, rows.read()) == ({}, 0, [b"newer"])


def test_compares_and_swaps_on_mariadb(mariadb_server: MariaDb, django_db_blocker: Any, folder: Path) -> None:
    """There a collation may hold two names for the same."""
    connections.settings["moving-mariadb"] = {
        **connections.settings["default"], "OPTIONS": {}, **mariadb_server.database(),
    }  # fmt: skip
    with django_db_blocker.unblock():
        with connections["moving-mariadb"].schema_editor() as editor:
            editor.create_model(Parcel)
        try:
            data = old_rows("moving-mariadb", 3)
            rows = Rows("encrypted", "moving-mariadb")
            assert rows.job(FileEncryption).run().written == 3
            assert (rows.read(), kinds("moving-mariadb")) == (data, [(False, True)] * 3)
            row = rows.all.get(note="0000")
            row.save()
            (cell,) = (Cell(row.pk.hex, row.pk, "north", None, row.slip.name.upper()),)
            assert not rows.job(FileEncryption).swap(cell_field(rows), cell, clear="x", sealed="y")
            assert Rows("dual", "moving-mariadb").job(FileDecryption).run().written == 3
            assert Rows("plaintext", "moving-mariadb").job(FileDecryption).run().written == 3
            assert Rows("before", "moving-mariadb").read() == data
        finally:
            connections["moving-mariadb"].close()
            del connections["moving-mariadb"], connections.settings["moving-mariadb"]


def cell_field(rows: Rows) -> Any:
    return rows.model._meta.get_field("slip")
