"""The commands of a move, for files: whenever a run ends, each row names a whole file, and no plain one is unnamed."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, Storage
from django.core.management import CommandError, call_command
from django.db import connections

from encrypted_fields.core.errors import KmsUnreachable
from encrypted_fields.core.stream import CHUNK
from encrypted_fields.moving import tally
from encrypted_fields.moving.file_decrypting import FileDecryption
from encrypted_fields.moving.file_encrypting import FileEncryption
from encrypted_fields.moving.shelf import Shelf, new_names
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.moving.parcels import (
    Killed,
    Rows,
    content,
    keep_in,
    killing,
    kinds,
    names,
    old_rows,
    stored,
)
from tests.sample_app.parcels import TABLE, parcel


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Path:
    monkeypatch.setattr(tally, "_sleep", lambda seconds: None)
    keep_in(FileSystemStorage(tmp_path), monkeypatch)
    return tmp_path


def called(name: str, database: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, model=["sample_app.Parcel"], database=[database], stdout=out, **options)
    return out.getvalue()


def test_dual_seals_what_lies_in_clear_and_keeps_it(database: str, folder: Path, cmk_tsp: MemoryTsp) -> None:
    data = old_rows(database, 130)
    Rows("before", database).all.create(tenant_id="north", note="9999")
    rows = Rows("dual", database)
    counted = rows.job(FileEncryption)
    assert (counted.pending(), counted.run(dry_run=True).found, cmk_tsp.calls) == (130, 130, [])
    done = rows.job(FileEncryption).run()
    assert (done.found, done.written, done.left, done.overtaken) == (130, 130, {}, 0)
    assert [(call.route, call.count) for call in cmk_tsp.calls] == [("batch_wrap", 100), ("batch_wrap", 30)]
    assert kinds(database) == [(True, True)] * 130 + [(False, False)]
    assert rows.read() == Rows("before", database).read() == [*data, b""]
    assert len(stored(folder)) == 260
    assert rows.job(FileEncryption).run().found == 0


@pytest.mark.parametrize("state", ["readable", "encrypted"])
def test_the_last_states_leave_nothing_in_clear(state: str, database: str, folder: Path) -> None:
    data = old_rows(database, 4)
    rows = Rows(state, database)
    done = rows.job(FileEncryption).run()
    assert (done.found, done.written, done.left) == (4, 4, {})
    assert kinds(database) == [(False, True)] * 4
    assert rows.read() == Rows("after", database).read() == data
    assert stored(folder) == sorted(sealed for _, sealed in names(database))
    assert [row.slip.original_name for row in rows.all.order_by("note")] == [f"slip-{n}.txt" for n in range(4)]


def test_after_dual_the_plain_files_go_only_where_both_say_the_same(database: str, folder: Path) -> None:
    data = old_rows(database, 3)
    Rows("dual", database).job(FileEncryption).run()
    (first, _), (_, second), (third, _) = names(database)
    (folder / first).write_bytes(b"newer")  # in clear is never older than sealed
    (folder / second).unlink()
    (folder / third).unlink()  # by a run that was killed then
    assert Rows("dual", database).job(FileEncryption, verify=True).run().left == {"not in the Storage": 1}
    done = Rows("encrypted", database).job(FileEncryption).run()
    assert (done.written, done.left) == (3, {})
    assert Rows("encrypted", database).read() == [b"newer", *data[1:]]
    assert stored(folder) == sorted(sealed for _, sealed in names(database))


def test_a_forged_file_is_left_and_told(database: str, folder: Path) -> None:
    """In the middle: its ends are looked at when it is opened."""
    data = [os.urandom(3 * CHUNK), b"good"]
    for n, one in enumerate(data):
        Rows("dual", database).new(one, note=str(n))
    sealed = names(database)[0][1]
    forged = bytearray((folder / sealed).read_bytes())
    forged[len(forged) // 2] ^= 1
    (folder / sealed).write_bytes(forged)
    done = Rows("readable", database).job(FileEncryption).run()
    assert (done.written, done.left) == (1, {"InvalidCiphertext": 1})
    assert kinds(database) == [(True, True), (False, True)]
    with connections[database].cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET slip = NULL")
    done = Rows("dual", database).job(FileDecryption).run()
    assert (done.written, done.left) == (1, {"InvalidCiphertext": 1})
    assert len(stored(folder)) == 4  # nothing half-written remains


def test_private_names_keep_the_old_one_inside(database: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_rows(database, 1)
    rows = Rows("readable", database, parcel("readable", private_names=True))
    keep_in(FileSystemStorage(folder), monkeypatch, [rows.model])
    rows.job(FileEncryption).run()
    (name,) = stored(folder)
    assert "slip-0" not in name
    assert (rows.all.get().slip.original_name, rows.read()) == ("slip-0.txt", [b"slip 0"])


def test_and_back(database: str, folder: Path) -> None:
    rows = Rows("encrypted", database)
    data = [b"slip %d" % n for n in range(3)]
    for n, one in enumerate(data):
        rows.new(one, f"slip-{n}.txt", note=str(n))
    with pytest.raises(ValueError, match="dual"):
        rows.job(FileDecryption)
    done = Rows("dual", database).job(FileDecryption).run()
    assert (done.found, done.written, done.left) == (3, 3, {})
    assert kinds(database) == [(True, True)] * 3
    assert Rows("plaintext", database).read() == data
    Rows("plaintext", database).all.filter(note="2").get().slip.delete()
    done = Rows("plaintext", database).job(FileDecryption).run()
    assert (done.found, done.written, kinds(database)) == (2, 2, [(True, False)] * 2 + [(False, False)])
    assert Rows("before", database).read() == [*data[:2], b""]
    assert [row.slip.original_name for row in Rows("plaintext", database).all.order_by("note")[:2]] == [
        "slip-0.txt", "slip-1.txt",
    ]  # fmt: skip


def test_the_way_back_keeps_a_sealed_file_whose_plain_one_is_lost(database: str, folder: Path) -> None:
    Rows("dual", database).new(b"a")
    ((clear, _),) = names(database)
    (folder / clear).unlink()
    done = Rows("plaintext", database).job(FileDecryption).run()
    assert done.left == {"in clear: not in the Storage": 1}
    assert len(stored(folder)) == 1


def test_a_plain_file_that_two_rows_name_goes_with_the_last(database: str, folder: Path) -> None:
    row = Rows("before", database).new(b"shared", note="1", tenant_id="a")
    Rows("before", database).all.create(tenant_id="b", note="2", slip=row.slip.name)
    rows = Rows("readable", database)
    rows.job(FileEncryption, tenant="a").run()
    assert rows.read() == [b"shared"] * 2
    assert row.slip.name in stored(folder)
    rows.job(FileEncryption).run()
    assert rows.read() == [b"shared"] * 2
    assert row.slip.name not in stored(folder)


@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("at", range(1, 9))
def test_killed_at_any_step_nothing_is_lost_and_nothing_in_clear_is_unnamed(
    way: str, at: int, database: str, folder: Path
) -> None:
    """Also in the middle of a pass; the next run ends it, and clears or tells what was left."""
    data = [b"slip 0", b"slip 1"]
    if way == "there":
        old_rows(database, 2)
        kind, rows = FileEncryption, Rows("readable", database)
    else:
        for n in range(2):
            Rows("encrypted", database).new(data[n], note=str(n))
        kind, rows = FileDecryption, Rows("plaintext", database)
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, at)
        with pytest.raises(Killed):
            rows.job(kind).run()
        # on the way back, what has no plain file yet is read by the code of the deploy before
        codes = [rows if way == "there" or clear else Rows("dual", database) for clear, _ in kinds(database)]
        assert [code.read_one(f"{n}") for n, code in enumerate(codes)] == data
        lying = {one for pair in names(database) for one in pair}
        unnamed = [name for name in stored(folder) if name not in lying]
        assert len(unnamed) <= 1
    done = rows.job(kind).run()
    assert done.left == {}
    assert rows.read() == data
    assert kinds(database) == [(False, True) if way == "there" else (True, False)] * 2
    lying = {one for pair in names(database) for one in pair}
    unnamed = [name for name in stored(folder) if name not in lying]
    assert unnamed == done.strays, "what the killed run left is told"


def test_the_next_run_clears_what_is_old_enough(database: str, folder: Path) -> None:
    """A file that is half there, written by a run that was killed."""
    old_rows(database, 1)
    rows = Rows("readable", database)
    (row,) = rows.all
    left = folder / next(new_names(rows.model._meta.get_field("slip"), row.pk, row.slip.name, "slip-0.txt"))
    left.write_bytes(b"CMKF half")
    os.utime(left, (1_700_000_000, 1_700_000_000))
    done = rows.job(FileEncryption).run()
    assert (done.cleared, done.strays, done.written) == (1, [], 1)
    assert (rows.read(), len(stored(folder))) == ([b"slip 0"], 1)


def test_a_storage_that_does_not_know_how_old_a_file_is_keeps_it_and_the_run_tells(
    database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Django's Storage says of `get_modified_time`: a backend may leave it out."""
    old_rows(database, 1)
    rows = Rows("readable", database)
    (row,) = rows.all
    name = next(new_names(rows.model._meta.get_field("slip"), row.pk, row.slip.name, "slip-0.txt"))
    (folder / name).write_bytes(b"CMKF half")
    os.utime(folder / name, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(FileSystemStorage, "get_modified_time", Storage.get_modified_time)
    done = rows.job(FileEncryption).run()
    assert (done.cleared, done.strays, done.written) == (0, [name], 1)
    assert (folder / name).read_bytes() == b"CMKF half"
    assert rows.read() == [b"slip 0"]


def test_a_file_that_did_not_arrive_whole_does_not_replace_the_old_one(
    database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Storage that says yes and loses it: the row goes back, the plain file stays."""
    data = old_rows(database, 1)
    monkeypatch.setattr(Shelf, "holds", lambda self, name, size: False)
    done = Rows("encrypted", database).job(FileEncryption).run()
    assert (done.written, done.overtaken) == (0, 1)
    assert kinds(database) == [(True, False)]
    assert Rows("readable", database).read() == data


def test_what_cannot_be_done_is_left_and_told(database: str, folder: Path, cmk_tsp: MemoryTsp) -> None:
    old_rows(database, 3)
    (folder / names(database)[1][0]).unlink()
    Rows("before", database).all.filter(note="0002").update(tenant_id="south")
    cmk_tsp.revoke("south")
    out = io.StringIO()
    with pytest.raises(CommandError, match="2 values are left"):
        call_command("encrypt_existing", model=["sample_app.Parcel"], database=[database], stdout=out)
    assert "not in the Storage" in out.getvalue()
    assert "KmsRefused" in out.getvalue()
    assert kinds_without_look(database) == [(False, True), (True, False), (True, False)]
    cmk_tsp.restore("south")
    cmk_tsp.failing = KmsUnreachable()
    with pytest.raises(CommandError, match="start it again"):
        called("encrypt_existing", database)


def kinds_without_look(database: str) -> list[tuple[bool, bool]]:
    with connections[database].cursor() as cursor:
        cursor.execute(f"SELECT slip, slip_encrypted FROM {TABLE} ORDER BY note")
        return [(bool(clear), bool(sealed)) for clear, sealed in cursor.fetchall()]


def test_a_large_file_takes_constant_memory(database: str, folder: Path) -> None:
    size = 100 * CHUNK + 5
    row = Rows("before", database).new(b"")
    with (folder / row.slip.name).open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(CHUNK))
        file.write(b"x" * 5)
    rows = Rows("readable", database)
    for kind, job_rows in ((FileEncryption, rows), (FileDecryption, Rows("dual", database))):
        tracemalloc.start()
        try:
            assert job_rows.job(kind).run().written == 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * 1024 * 1024
    assert rows.all.get().slip.size == size


def test_status_and_the_check_know_files(database: str, folder: Path, cmk_tsp: MemoryTsp) -> None:
    from encrypted_fields.moving import checks as ours

    old_rows(database, 2)
    rows = Rows("dual", database)
    rows.new(b"both", note="8")
    rows.all.create(tenant_id="north", note="9")
    del cmk_tsp.calls[:]
    (told,) = json.loads(called("encryption_status", database, json=True))
    counts = {name: told[name] for name in ("rows", "null", "in_clear", "sealed", "both", "foreign", "missing")}
    assert counts == {"rows": 4, "null": 1, "in_clear": 2, "sealed": 1, "both": 1, "foreign": 0, "missing": 0}
    assert (told["state"], told["configs"], told["problem"]) == ("readable", {"1": {"0": 1}}, None)
    assert cmk_tsp.calls == []
    assert "configuration 1: 1" in called("encryption_status", database)
    field = Rows("encrypted", database).model._meta.get_field("slip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "_moving", lambda: iter([field]))
        patch.setattr(FileSystemStorage, "_open", None)  # no file is looked at
        assert [one.id for one in ours.check_deploy(databases=[database])] == ["encrypted_fields.E040"]
    called("encrypt_existing", database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "_moving", lambda: iter([field]))
        assert ours.check_deploy(databases=[database]) == []
    sealed = [sealed for _, sealed in names(database) if sealed]
    (folder / sealed[0]).write_bytes(b"not ours")
    (folder / sealed[1]).unlink()
    with pytest.raises(CommandError, match="1 values are no ciphertext of ours"):
        called("encryption_status", database)
    (folder / sealed[0]).unlink()
    with pytest.raises(CommandError, match="2 files are not in the Storage"):
        called("encryption_status", database)


def test_the_tasks_and_the_commands_say_the_same(database: str, cmk_tsp: MemoryTsp) -> None:
    from encrypted_fields.moving import tasks

    data = old_rows(database, 3)
    assert "would take 3 values" in called("encrypt_existing", database, dry_run=True)
    out = called("encrypt_existing", database, field=["slip"], tenant="north")
    assert "took 3 values; 3 written, 1 calls" in out
    assert "3 of 3 rows" in out
    assert [dict(call.about.custom) for call in cmk_tsp.calls] == [{"command": "encrypt_existing"}]
    assert tasks.encrypt_existing("sample_app.Parcel", using=database)[0]["found"] == 0
    assert tasks.encryption_status("sample_app.Parcel", using=database)[0]["sealed"] == 3
    (told,) = tasks.rekey("sample_app.Parcel", using=database, every=True)
    assert (told["written"], told["calls"], Rows("readable", database).read()) == (3, 1, data)
    with pytest.raises(ValueError, match="deploy state='dual' first"):
        tasks.decrypt_existing("sample_app.Parcel", using=database)


def test_reads_the_plain_file_while_others_move(database: str) -> None:
    """Point 5: what is not moved yet gives its plain file."""
    data = old_rows(database, 2)
    rows = Rows("readable", database)
    rows.all.filter(note="0001").update(tenant_id="south")
    rows.job(FileEncryption, tenant="north").run()
    assert kinds(database) == [(False, True), (True, False)]
    assert [content(row.slip) for row in rows.all.order_by("note")] == data
