"""Files in each state of a move: which file is read and written, beside the code of its neighbours; nothing is lost."""

from __future__ import annotations

import pickle
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.apps.registry import Apps
from django.core.exceptions import FieldError
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage
from django.db import connections, models
from django.db.models import F
from django.test import RequestFactory

from encrypted_fields import EncryptedFileField, PlaintextField
from encrypted_fields.core.errors import KmsRefused
from encrypted_fields.http import encrypted_response
from encrypted_fields.moving import STATES, PlaintextLeft
from encrypted_fields.testing import MemoryTsp, assert_encrypted
from tests.encrypted_fields.moving.parcels import Rows, content, keep_in, kinds, names, stored
from tests.encrypted_fields.pictures import picture
from tests.sample_app.parcels import TABLE, parcel, poster

WRITES = {"plaintext": (True, False), "dual": (True, True), "readable": (False, True), "encrypted": (False, True)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Path:
    keep_in(FileSystemStorage(tmp_path, base_url="/media/"), monkeypatch)
    return tmp_path


@pytest.fixture(params=STATES)
def rows(request: pytest.FixtureRequest, database: str) -> Rows:
    return Rows(request.param, database)


def test_each_way_of_writing_fills_the_columns_of_the_state(rows: Rows) -> None:
    expected = [WRITES[rows.state]]
    row = rows.new(b"a")
    assert kinds(rows.database) == expected
    assert content(row.slip) == content(rows.all.get().slip) == b"a"
    row.slip.save("b.txt", ContentFile(b"b"))
    assert (kinds(rows.database), rows.read()) == (expected, [b"b"])
    row = rows.all.get()
    row.slip = ContentFile(b"c", "c.txt")
    row.save(update_fields=["slip"])
    assert (kinds(rows.database), rows.read()) == (expected, [b"c"])
    row = rows.all.get()
    with rows.all.get().slip.open() as again:
        row.slip = File(again, "d.txt")
        row.save()
    assert (kinds(rows.database), rows.read()) == (expected, [b"c"])
    rows.all.bulk_create(
        [rows.model(tenant_id="north", note=f"{n}", slip=ContentFile(b"x%d" % n, "x")) for n in (1, 2)]
    )
    assert kinds(rows.database)[1:] == expected * 2
    assert rows.read()[1:] == [b"x1", b"x2"]


def test_what_nobody_changed_stays(rows: Rows) -> None:
    rows.new(b"a")
    before = names(rows.database)
    row = rows.all.get()
    row.note = "changed"
    row.save()
    row.save(update_fields=["note", "slip"])
    rows.all.update(note="again")
    rows.all.get().save(update_fields=["slip_plain"])
    assert names(rows.database) == before
    assert rows.read() == [b"a"]


def test_a_row_in_hand_does_not_write_back_names_that_are_gone(rows: Rows) -> None:
    """A command gave the row other names meanwhile, and removed the old files."""
    rows.new(b"a")
    row = rows.all.get()
    row.slip  # noqa: B018
    with connections[rows.database].cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET slip = 'p', slip_encrypted = 's'")
    row.note = "changed"
    row.save()
    with connections[rows.database].cursor() as cursor:
        cursor.execute(f"SELECT slip, slip_encrypted, note FROM {TABLE}")
        assert cursor.fetchone() == ("p", "s", "changed")


def test_queries_know_the_file_that_counts(rows: Rows) -> None:
    row = rows.new(b"a", note="full")
    rows.all.create(tenant_id="north", note="empty")
    assert [one.note for one in rows.all.exclude(slip="").exclude(slip=None)] == ["full"]
    assert rows.all.filter(slip=row.slip.name).get().note == "full"
    assert rows.all.order_by("-note").values_list("slip", flat=True)[0] == row.slip.name
    assert rows.all.annotate(again=F("slip")).filter(note="full").values_list("again", flat=True)[0] == row.slip.name
    for some in (rows.all.only("slip"), rows.all.defer("slip"), rows.all.defer("slip_plain"), rows.all.all()):
        assert content(some.get(pk=row.pk).slip) == b"a"
    raw = rows.model.objects.using(rows.database).raw(f"SELECT * FROM {TABLE} WHERE note = 'full'")[0]
    assert content(raw.slip) == b"a"
    row.refresh_from_db()
    assert content(row.slip) == b"a"


@pytest.mark.parametrize(("older", "newer"), [*pairwise(("before", *STATES, "after"))])
def test_neighbours_read_what_the_other_wrote(older: str, newer: str, database: str, folder: Path) -> None:
    """In both directions, as in a rolling deploy."""
    one, other = Rows(older, database), Rows(newer, database)
    for first, second in ((one, other), (other, one)):
        first.new(b"a")
        assert second.read() == [b"a"]
        row = second.all.get()
        row.slip = ContentFile(b"b", "b.txt")
        row.save()
        assert first.read() == second.read() == [b"b"]
        row = first.all.get()
        row.slip.save("c.txt", ContentFile(b"c"))
        assert first.read() == second.read() == [b"c"]
        row.slip.delete()
        assert [bool(row.slip) for row in (first.all.get(), second.all.get())] == [False, False]
        first.all.all().delete()


@pytest.mark.parametrize("state", ["plaintext", "dual", "readable"])
def test_a_file_in_clear_is_read_without_a_key(state: str, database: str, cmk_tsp: MemoryTsp) -> None:
    Rows("before", database).new(bytes(range(200)), "old.txt")
    row = Rows(state, database).all.get()
    cmk_tsp.revoke("north")
    assert (content(row.slip), row.slip.size, row.slip.original_name) == (bytes(range(200)), 200, "old.txt")
    assert (row.slip.plain, row.slip.locked, row.slip.url) == (True, False, f"/media/{row.slip.name}")
    with row.slip.open() as file:
        file.seek(100)
        assert file.read(3) == bytes((100, 101, 102))
    response: Any = encrypted_response(RequestFactory().get("/", headers={"Range": "bytes=5-6"}), row.slip)
    assert (response.status_code, b"".join(response.streaming_content)) == (206, b"\x05\x06")
    assert "old.txt" in response["Content-Disposition"]
    response.close()
    with pytest.raises(AssertionError, match="stored in clear"):
        assert_encrypted(row, "slip")
    assert cmk_tsp.calls == []


def test_a_file_in_clear_is_never_read_where_the_field_says_encrypted(database: str) -> None:
    Rows("before", database).new(b"old")
    row = Rows("encrypted", database).all.get()
    for look in (lambda: row.slip.open(), lambda: row.slip.size, lambda: row.slip.read(), lambda: row.slip.locked):
        with pytest.raises(PlaintextLeft, match="encrypt_existing"):
            look()
    row.note = "changed"
    row.save()  # loses nothing
    assert kinds(database) == [(True, False)]


def test_replacing_a_file_in_clear_removes_it(database: str, folder: Path) -> None:
    """But not while code from before runs, which may still name it."""
    for state, files in (("plaintext", 2), ("dual", 2), ("readable", 1), ("encrypted", 1)):
        Rows("before", database).new(b"old", "old.txt")
        row = Rows(state, database).all.get()
        row.slip = ContentFile(b"new", "new.txt")
        row.save()
        assert Rows(state, database).read() == [b"new"]
        assert len(stored(folder)) == files, state
        assert ("slips/old.txt" in stored(folder)) is (state == "plaintext")
        Rows(state, database).all.all().delete()
        for path in folder.rglob("*.txt"):
            path.unlink()


def test_a_plain_file_that_another_row_names_stays(database: str, folder: Path) -> None:
    row = Rows("before", database).new(b"shared", note="1")
    Rows("before", database).all.create(tenant_id="north", note="2", slip=row.slip.name)
    one = Rows("readable", database).all.get(note="1")
    one.slip.save("new.txt", ContentFile(b"new"))
    assert Rows("readable", database).read() == [b"new", b"shared"]


def test_unused_delete_removes_both_files(database: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = parcel("dual", unused="delete", private_names=True)
    keep_in(FileSystemStorage(folder), monkeypatch, [model])
    rows = Rows("dual", database, model)
    row = rows.new(b"a")
    assert len(stored(folder)) == 2
    row = rows.all.get()
    row.slip = ContentFile(b"b", "b.txt")
    row.save()
    assert (len(stored(folder)), rows.read(), rows.all.get().slip.original_name) == (2, [b"b"], "b.txt")
    row.delete()
    assert stored(folder) == []


def test_a_failed_save_leaves_the_old_files_and_no_remains(rows: Rows, folder: Path, cmk_tsp: MemoryTsp) -> None:
    rows.new(b"old")
    before, there = names(rows.database), stored(folder)
    row = rows.all.get()
    cmk_tsp.revoke("north")
    if rows.state == "plaintext":
        return
    with pytest.raises(KmsRefused):
        row.slip.save("new.txt", ContentFile(b"new"))
    row.note = "changed"
    row.save()
    cmk_tsp.restore("north")
    assert (names(rows.database), stored(folder), rows.read()) == (before, there, [b"old"])


def test_copies_and_names_by_hand(rows: Rows, folder: Path) -> None:
    row = rows.new(b"a")
    copy = rows.model(tenant_id="south")
    copy.slip = row.slip
    copy.save(using=rows.database)
    assert content(rows.all.get(tenant_id="south").slip) == b"a"
    assert kinds(rows.database) == [WRITES[rows.state]] * 2
    (folder / "by-hand.txt").write_bytes(b"by hand")
    row = rows.all.get(tenant_id="north")
    row.slip = "by-hand.txt"
    if rows.state == "plaintext":
        row.save()
        assert content(rows.all.get(tenant_id="north").slip) == b"by hand"
    else:
        with pytest.raises(ValueError, match="sealed for another place"):
            row.save()
    again = pickle.loads(pickle.dumps(rows.all.get(tenant_id="south")))
    assert content(again.slip) == b"a"
    with pytest.raises(FieldError, match="Assign the file"):
        rows.all.update(slip="slips/x.txt")
    rows.all.update(slip="")
    assert kinds(rows.database) == [(False, False)] * 2


def test_a_row_is_set_to_no_file(rows: Rows) -> None:
    for nothing in ("", None):
        rows.new(b"a")
        row = rows.all.get()
        row.slip = nothing
        row.save(update_fields=["slip"])
        assert (kinds(rows.database), bool(rows.all.get().slip)) == ([(False, False)], False)
        row.save()
        assert kinds(rows.database) == [(False, False)]
        rows.all.all().delete()


def test_a_file_is_not_lost_on_its_way_through_pickle(rows: Rows) -> None:
    """Stored, and not named by its row yet."""
    rows.new(b"a")
    row = rows.all.get()
    row.slip.save("b.txt", ContentFile(b"b"), save=False)
    again = pickle.loads(pickle.dumps(row))
    again.save()
    assert (rows.read(), kinds(rows.database)) == ([b"b"], [WRITES[rows.state]])


def test_pictures_are_measured_in_each_state(rows: Rows, cmk_tsp: MemoryTsp) -> None:
    model = poster(rows.state)
    one = model(tenant_id="north", image=picture(30, 20))
    one.save(using=rows.database)
    found = model.objects.using(rows.database).get()
    assert (found.width, found.height, found.image.width, found.image.height) == (30, 20, 30, 20)
    assert found.image.plain is (rows.state == "plaintext")


@pytest.mark.parametrize("options", [{"plaintext": "x"}, {"state": "dual"}, {"plaintext": "x", "state": "y"}])
def test_half_a_move_is_a_programmers_mistake(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state of plaintext, dual, readable, encrypted"):
        EncryptedFileField(**options)
    with pytest.raises(TypeError, match="for values"):
        PlaintextField(models.FileField(), reader="djfernet")
    odd = type("Odd", (models.Model,), {
        "__module__": __name__, "Meta": type("Meta", (), {"app_label": "odd", "apps": Apps()}),
        "id": models.UUIDField(primary_key=True, default=uuid.uuid4),
        "slip": EncryptedFileField(plaintext="id", state="dual"),
    })  # fmt: skip
    with pytest.raises(FieldError, match="no PlaintextField of a FileField"):
        odd._meta.get_field("slip").clear  # type: ignore[attr-defined] # noqa: B018
