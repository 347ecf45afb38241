"""`rekey` for files: another header, the same chunks, 1,000 in a call; no run leaves a row without its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import transaction

from encrypted_fields.core.errors import KmsUnwrapFailed
from encrypted_fields.core.stream import CHUNK
from encrypted_fields.moving import tally
from encrypted_fields.moving.edek import facts
from encrypted_fields.moving.file_rekeying import FileRekeying
from encrypted_fields.moving.headers import head
from encrypted_fields.moving.shelf import Shelf, name_before, next_names
from encrypted_fields.moving.status import status
from encrypted_fields.moving.table import Table
from tests.encrypted_fields.moving.parcels import Killed, Rows, disturbed, keep_in, killing, stored, whole
from tests.encrypted_fields.moving.test_rekey import NewPrimary
from tests.sample_app.parcels import parcel


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    keep_in(FileSystemStorage(tmp_path), monkeypatch)
    return tmp_path


@pytest.fixture(autouse=True)
def tsp(monkeypatch: pytest.MonkeyPatch) -> Iterator[NewPrimary]:
    monkeypatch.setattr(tally, "_sleep", lambda seconds: None)
    with NewPrimary() as found:
        yield found


def sealed(tsp: NewPrimary, rows: Rows, count: int) -> list[bytes]:
    """Files from before the tenant changed its primary configuration."""
    data = [b"slip %d" % n for n in range(count)]
    for n, one in enumerate(data):
        rows.new(one, f"slip-{n}.txt", note=f"{n:04}")
    tsp.renewed = True
    del tsp.calls[:]
    return data


def heads(rows: Rows) -> list[Any]:
    return [head(row.slip.storage, row.slip.name) for row in rows.all.order_by("note")]


def bodies(rows: Rows) -> list[bytes]:
    """All but the headers."""
    files = [row.slip for row in rows.all.order_by("note")]
    return [whole(file.storage, file.name)[one.start :] for file, one in zip(files, heads(rows), strict=True)]


def configs(rows: Rows) -> list[int]:
    return [facts(one.edek).config for one in heads(rows)]


@pytest.mark.parametrize("state", ["after", "dual", "encrypted"])
def test_changes_the_header_and_nothing_else(state: str, database: str, tsp: NewPrimary, folder: Path) -> None:
    """Of a field that moves, and of one that always was encrypted."""
    rows = Rows(state, database)
    rows.new(bytes(3 * CHUNK + 5), "large.txt", note="large")
    data = [*sealed(tsp, rows, 2), bytes(3 * CHUNK + 5)]
    before, there = heads(rows), len(stored(folder))
    chunks = bodies(rows)
    done = rows.job(FileRekeying).run()
    assert (done.found, done.written, done.left, done.overtaken) == (3, 3, {}, 0)
    assert [(call.route, call.count) for call in tsp.calls] == [("wrap", 1), ("batch_rekey", 3)]
    after = heads(rows)
    assert [facts(one.edek).config for one in after] == [2, 2, 2]
    assert [replace(one.header, edek=b"") for one in before] == [replace(one.header, edek=b"") for one in after]
    assert bodies(rows) == chunks
    assert (rows.read(), len(stored(folder))) == (data, there)
    assert [row.slip.original_name for row in rows.all.order_by("note")] == ["slip-0.txt", "slip-1.txt", "large.txt"]
    assert rows.job(FileRekeying).run().found == 0
    assert rows.job(FileRekeying, every=True).run().written == 3
    assert (rows.read(), len(stored(folder))) == (data, there)


def test_names_that_are_sealed_inside_stay(database: str, tsp: NewPrimary, folder: Path) -> None:
    rows = Rows("after", database, parcel("after", private_names=True))
    with pytest.MonkeyPatch.context() as patch:
        keep_in(FileSystemStorage(folder), patch, [rows.model])
        data = sealed(tsp, rows, 2)
        rows.job(FileRekeying).run()
        assert configs(rows) == [2, 2]
        assert [row.slip.original_name for row in rows.all.order_by("note")] == ["slip-0.txt", "slip-1.txt"]
        assert (rows.read(), len(stored(folder))) == (data, 2)


def test_a_thousand_headers_are_one_call(database: str, tsp: NewPrimary) -> None:
    rows = Rows("after", database)
    data = sealed(tsp, rows, 60)
    job = rows.job(FileRekeying)
    job.size = 25  # rows of a page, which is less than a call
    bad = heads(rows)[7].edek
    tsp.failing_keys[bad] = [KmsUnwrapFailed()]
    done = job.run()
    assert [call.count for call in tsp.calls if call.route == "batch_rekey"] == [60]
    assert (done.written, done.left) == (59, {"KmsUnwrapFailed": 1})
    assert [number for number, config in enumerate(configs(rows)) if config == 1] == [7]
    assert rows.read() == data


@pytest.mark.parametrize("at", range(1, 7))
def test_killed_at_any_step_each_row_has_its_file_and_the_next_run_clears(
    at: int, database: str, tsp: NewPrimary, folder: Path
) -> None:
    """A file that nobody names may be left, and only one; it is found by its name."""
    rows = Rows("after", database)
    data = sealed(tsp, rows, 2)
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, at)
        with pytest.raises(Killed):
            rows.job(FileRekeying).run()
    assert rows.read() == data
    assert len(stored(folder)) <= 3
    done = rows.job(FileRekeying).run()
    assert (rows.read(), configs(rows), done.left) == (data, [2, 2], {})
    unnamed = set(stored(folder)) - {row.slip.name for row in rows.all.all()}
    assert unnamed == set(done.strays)
    assert done.cleared == (1 if at in (2, 5) else 0)
    assert len(done.strays) == (1 if at in (1, 4) else 0)


def test_a_writer_is_never_overwritten(
    database: str, tsp: NewPrimary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows("after", database)
    sealed(tsp, rows, 1)

    def write() -> None:
        row = rows.all.get()
        row.slip = ContentFile(b"newer", "newer.txt")
        row.save()

    disturbed(monkeypatch, write)
    done = rows.job(FileRekeying).run()
    assert (rows.read(), done.left, done.overtaken) == ([b"newer"], {}, 0)
    assert len(stored(folder)) == 2  # the new one, and the old one that Django leaves when a row gets another


def test_a_row_in_somebodys_hands_keeps_its_new_file(database: str, tsp: NewPrimary) -> None:
    """Loaded before, saved after: the old name, which is gone, is not written back."""
    rows = Rows("after", database)
    data = sealed(tsp, rows, 1)
    row = rows.all.get()
    row.slip  # noqa: B018
    rows.job(FileRekeying).run()
    row.note = "changed"
    row.save()
    assert rows.read() == data
    assert rows.all.get().note == "changed"


def test_a_row_that_was_saved_with_its_file_keeps_its_new_one(database: str, tsp: NewPrimary) -> None:
    """A worker that holds a row for long. What was rolled back is no such file."""
    rows = Rows("after", database)
    row = rows.new(b"a")
    tsp.renewed = True
    rows.job(FileRekeying).run()
    row.note = "changed"
    row.save()
    assert rows.read() == [b"a"]
    with transaction.atomic(using=database):
        row.slip.save("b.txt", ContentFile(b"b"))
        transaction.set_rollback(True, using=database)
    assert rows.read() == [b"a"]
    row.save()
    assert rows.read() == [b"b"]


def test_a_file_that_did_not_arrive_whole_does_not_replace_the_old_one(
    database: str, tsp: NewPrimary, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows("after", database)
    data = sealed(tsp, rows, 1)
    monkeypatch.setattr(Shelf, "holds", lambda self, name, size: False)
    done = rows.job(FileRekeying).run()
    assert (done.written, done.overtaken, rows.read(), configs(rows)) == (0, 1, data, [1])


def test_what_is_not_there_or_not_ours_is_left(database: str, tsp: NewPrimary, folder: Path) -> None:
    rows = Rows("after", database)
    sealed(tsp, rows, 3)
    first, second, _ = [row.slip.name for row in rows.all.order_by("note")]
    (folder / first).unlink()
    (folder / second).write_bytes(b"plain")
    done = rows.job(FileRekeying).run()
    assert (done.written, done.left) == (1, {"not in the Storage": 1, "InvalidCiphertext": 1})
    told = status(Table(rows.model, database), rows.model._meta.get_field("slip"))
    assert (told.sealed, told.foreign, told.missing, dict(told.keys)) == (1, 1, 1, {(2, 0): 1})


def test_names_count_on_and_back() -> None:
    field = parcel("after")._meta.get_field("slip")
    for name, following in (
        ("slips/a_00000000000000ff.txt", "slips/a_0000000000000100.txt"),
        ("a_ffffffffffffffff", "a_0000000000000000"),
        (f"x/{'0' * 31}9.pdf", f"x/{'0' * 31}a.pdf"),
    ):
        assert next(next_names(field, 1, name)) == following
        assert name_before(following) == name
    assert name_before("slips/by-hand.txt") is None
    assert next(next_names(field, 1, "slips/by-hand.txt")).startswith("slips/by-hand_")
