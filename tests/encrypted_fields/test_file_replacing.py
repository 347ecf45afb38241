"""Replacing, removing and copying files: no row points at what is missing, half-written or another row's (R-34)."""

from __future__ import annotations

import io
import pickle
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, transaction

from encrypted_fields import EncryptedFileField, tenant
from encrypted_fields.core.errors import InvalidCiphertext, KmsRefused
from encrypted_fields.core.stream import CHUNK
from encrypted_fields.testing import MemoryTsp, assert_encrypted, counted
from tests.encrypted_fields.pictures import picture
from tests.sample_app.models import Photo, Receipt, Scan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Path:
    for model in (Scan, Photo, Receipt):
        for field in model._meta.local_fields:
            if isinstance(field, EncryptedFileField):
                monkeypatch.setattr(field, "storage", FileSystemStorage(tmp_path))
    return tmp_path


def scan(data: bytes = b"old", **values: Any) -> Scan:
    return Scan.objects.create(**{"tenant_id": "north", "image": ContentFile(data, "scan.png"), **values})


def content(file: Any) -> bytes:
    with file.open() as opened:
        return bytes(opened.read())


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_file_gets_a_fresh_name(folder: Path) -> None:
    """A Storage that overwrites must not touch the old file before the row says so."""
    one = scan()
    first = one.image.name
    assert re.fullmatch(r"scans/scan_[0-9a-f]{16}\.png", first)
    assert one.image.original_name == "scan.png"
    one.image.save("scan.png", ContentFile(b"new"))
    assert one.image.name != first
    assert len(files(folder)) == 2
    assert content(Scan.objects.get().image) == b"new"


def test_a_failed_save_leaves_the_old_file_and_no_remains(folder: Path) -> None:
    one = scan()

    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 2 * CHUNK:
                raise TimeoutError
            return super().read(size)

    found = Scan.objects.get()
    for attempt in (found.image.save, lambda name, file: (setattr(found, "image", file), found.save())):
        with pytest.raises(TimeoutError), transaction.atomic():
            attempt("new.png", File(Breaking(bytes(5 * CHUNK)), "new.png"))
        assert len(files(folder)) == 1
        assert content(Scan.objects.get().image) == b"old"
    assert content(one.image) == b"old"


def test_a_storage_that_takes_a_part_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(FileSystemStorage):
        def _save(self, name: str, content: File) -> str:
            return super()._save(name, ContentFile(content.read(100)))

    monkeypatch.setattr(Scan._meta.get_field("image"), "storage", Short(folder))
    with pytest.raises(OSError, match="did not take the whole file"), transaction.atomic():
        scan()
    assert not Scan.objects.exists()
    assert files(folder) == []


def test_a_row_that_is_not_written_keeps_its_old_file(folder: Path) -> None:
    one, taken = scan(), uuid.uuid4()
    scan(pk=taken)
    found = Scan.objects.get(pk=one.pk)
    found.image = ContentFile(b"new", "scan.png")
    found.pk = taken
    with pytest.raises(IntegrityError), transaction.atomic():
        found.save(force_insert=True)
    assert content(Scan.objects.get(pk=one.pk).image) == b"old"


def test_replaced_and_deleted_files_go_after_the_commit(folder: Path, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        one = Photo.objects.create(tenant_id="north", picture=picture(3, 2))
    before = files(folder)
    with django_capture_on_commit_callbacks(execute=True):
        one.picture = picture(5, 4)
        one.save()
        assert set(before) < set(files(folder))  # until the commit both are there
    (now,) = files(folder)
    assert now not in before
    with django_capture_on_commit_callbacks(execute=True):
        one.save(update_fields=["tenant_id"])
        one.save()
        Photo.objects.get().save()
    assert files(folder) == [now]
    with django_capture_on_commit_callbacks(execute=True):
        Photo.objects.all().delete()
    assert files(folder) == []


@pytest.mark.django_db(transaction=True)
def test_a_rollback_keeps_the_old_file(folder: Path) -> None:
    one = Photo.objects.create(tenant_id="north", picture=picture(3, 2))
    one.picture = picture(5, 4)
    for change in (one.save, Photo.objects.get().picture.delete):
        with transaction.atomic():
            change()
            transaction.set_rollback(True)
        assert Photo.objects.get().picture.width == 3
    assert Photo.objects.get().picture.width == 3


def test_a_file_that_another_row_names_too_is_not_removed(
    folder: Path, django_capture_on_commit_callbacks: Any
) -> None:
    first = Photo.objects.create(tenant_id="north", picture=picture(3, 2))
    other = Photo.objects.create(tenant_id="north")
    Photo.objects.filter(pk=other.pk).update(picture=first.picture.name)
    with django_capture_on_commit_callbacks(execute=True):
        first.delete()
    assert len(files(folder)) == 1


def test_delete_empties_the_row_first(folder: Path, django_capture_on_commit_callbacks: Any) -> None:
    one = scan()
    with django_capture_on_commit_callbacks(execute=True):
        one.image.delete()
        assert len(files(folder)) == 1
        assert not Scan.objects.get().image
    assert files(folder) == []
    one.image.delete()  # nothing there: nothing happens
    upload = Scan(tenant_id="north", image=ContentFile(b"x", "not-stored.png"))
    (folder / "not-stored.png").write_bytes(b"of somebody else")
    with django_capture_on_commit_callbacks(execute=True):
        upload.image.delete(save=False)
    assert len(files(folder)) == 1


def test_a_file_of_another_row_is_sealed_anew(cmk_tsp: MemoryTsp, folder: Path) -> None:
    one = scan(b"x" * 200_000)
    with counted(cmk_tsp) as calls:
        copy = Scan.objects.create(tenant_id="south", image=one.image)
    assert [(call.route, call.about.tenant) for call in calls] == [("unwrap", "north"), ("wrap", "south")]
    assert copy.image.name != one.image.name
    assert copy.image.original_name == "scan.png"
    assert content(Scan.objects.get(pk=copy.pk).image) == content(one.image) == b"x" * 200_000
    photo = Photo.objects.create(tenant_id="north", picture=picture(3, 2))
    photo.contract = photo.picture  # another field of the same row
    photo.save()
    assert content(Photo.objects.get().contract) == content(photo.picture)
    assert Photo.objects.get().contract.original_name == "picture.png"


def test_a_name_alone_is_not_carried_to_another_row(cmk_tsp: MemoryTsp) -> None:
    one, other = scan(b"one"), scan(b"other")
    copy = Scan.objects.get(pk=one.pk)
    copy.pk, copy._state.adding = uuid.uuid4(), True
    with pytest.raises(ValueError, match="sealed for another place"), transaction.atomic():
        copy.save()
    with pytest.raises(ValueError, match="sealed for another place"), transaction.atomic():
        Scan.objects.create(tenant_id="north", image=one.image.name)
    found = Scan.objects.get(pk=one.pk)
    found.image = other.image.name
    with pytest.raises(ValueError, match="sealed for another place"), transaction.atomic():
        found.save()
    found.image = "scans/nowhere.png"
    with pytest.raises(FileNotFoundError), transaction.atomic():
        found.save()
    found.image = one.image.name
    found.save()
    cmk_tsp.revoke("north")
    with pytest.raises(KmsRefused), transaction.atomic():
        Scan.objects.create(tenant_id="north", image=one.image.name)
    assert Scan.objects.count() == 2


def test_rows_that_are_not_bound_may_share_a_file_within_their_tenant() -> None:
    one = Receipt.objects.create(tenant_id="north", paper=ContentFile(b"paper", "p.txt"))
    copy = Receipt.objects.create(tenant_id="north", paper=one.paper.name)
    assert content(copy.paper) == b"paper"
    with pytest.raises(ValueError, match="sealed for another place"), transaction.atomic():
        Receipt.objects.create(tenant_id="south", paper=one.paper.name)


def test_saving_asks_for_no_key_when_the_file_stayed(cmk_tsp: MemoryTsp) -> None:
    scan()
    with counted(cmk_tsp) as calls:
        one = Scan.objects.get()
        one.save()
        one.refresh_from_db()
        one.save(update_fields=["image"])
        Scan.objects.defer("image").get().image  # noqa: B018
    assert calls == []


def test_pickles_and_fixtures_hold_the_name_only(cmk_tsp: MemoryTsp) -> None:
    one = scan(b"a canary")
    with one.image.open():
        data = pickle.dumps(one)
    assert b"a canary" not in data
    assert content(pickle.loads(data).image) == b"a canary"
    dump = serializers.serialize("json", Scan.objects.all())
    assert "a canary" not in dump
    Scan.objects.all().delete()
    with counted(cmk_tsp) as calls:
        for row in serializers.deserialize("json", dump):
            row.save()
    assert calls == []
    assert content(Scan.objects.get().image) == b"a canary"


def test_names_fit_their_column(folder: Path) -> None:
    one = Receipt.objects.create(tenant_id="north", paper=ContentFile(b"x", "long" * 50 + ".txt"))
    assert len(one.paper.name) == 60
    assert one.paper.name.endswith(".txt")
    assert one.paper.original_name.startswith("longlong")
    field: Any = Receipt._meta.get_field("paper")
    with pytest.raises(SuspiciousFileOperation, match="max_length=60"):
        field.generate_filename(one, "x." + "e" * 50)


def test_a_private_name_is_sealed_with_the_file(cmk_tsp: MemoryTsp, folder: Path) -> None:
    one = Photo.objects.create(tenant_id="north", picture=picture(3, 2, "Ann's knee.png"))
    assert re.fullmatch(r"photos/[0-9a-f]{32}", one.picture.name)
    found = Photo.objects.get()
    with counted(cmk_tsp) as calls:
        assert found.picture.original_name == "Ann's knee.png"
        with found.picture.open():
            assert found.picture.original_name == "Ann's knee.png"
    assert len(calls) == 2
    (file,) = files(folder)
    assert b"knee" not in file.read_bytes() + file.name.encode()
    assert str(found.picture) == repr(found.picture)[-len(found.picture.name) - 1 : -1] == found.picture.name
    copy = Photo.objects.create(tenant_id="north", picture=found.picture)
    assert Photo.objects.get(pk=copy.pk).picture.original_name == "Ann's knee.png"
    cmk_tsp.revoke("north")
    with pytest.raises(KmsRefused):
        Photo.objects.get(pk=one.pk).picture.original_name  # noqa: B018


def test_the_upload_folder_never_learns_a_private_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        Photo._meta.get_field("picture"), "upload_to", lambda _, name: seen.append(name) or f"deep/{name}"
    )
    one = Photo.objects.create(tenant_id="north", picture=picture(3, 2, "secret.png"))
    assert seen != []
    assert "secret" not in seen[0] + one.picture.name
    assert one.picture.original_name == "secret.png"


def test_a_moved_name_is_forgery(folder: Path) -> None:
    """The sealed name of one file in another."""
    one, other = (Photo.objects.create(tenant_id="north", picture=picture(3, 2, name)) for name in ("a.png", "b.png"))
    first, second = (Path(photo.picture.path) for photo in (one, other))
    head = first.read_bytes().index(b"CMKF\x02")
    size = 7 + int.from_bytes(first.read_bytes()[5:7], "big") + 16 + 2 + 80
    assert head == 0
    first.write_bytes(second.read_bytes()[:size] + first.read_bytes()[size:])
    with pytest.raises(InvalidCiphertext):
        Photo.objects.get(pk=one.pk).picture.open()


def test_the_address_is_that_of_the_page_that_opens_it(folder: Path) -> None:
    one = Photo.objects.create(tenant_id="north", contract=ContentFile(b"x", "c.pdf"))
    assert one.contract.url == f"/contracts/{one.pk}/"
    with tenant("north"):
        assert content(one.contract) == b"x"


def test_seals_anew_under_a_new_key(cmk_tsp: MemoryTsp, folder: Path, django_capture_on_commit_callbacks: Any) -> None:
    """After the tenant changed its key service, say. The old file goes as the policy of the field says."""
    one = Photo.objects.create(tenant_id="north", picture=picture(3, 2, "knee.png"))
    before = Path(one.picture.path).read_bytes()
    with django_capture_on_commit_callbacks(execute=True):
        Photo.objects.get().picture.reseal()
    (now,) = files(folder)
    assert now.read_bytes()[:120] != before[:120]
    found = Photo.objects.get()
    assert (found.picture.original_name, found.picture.width) == ("knee.png", 3)
    assert content(found.picture) == content(Photo(tenant_id="north", picture=picture(3, 2)).picture)


def test_takes_over_a_file_that_was_stored_in_clear(folder: Path) -> None:
    """As docs/files.md has it: a FileField that became an EncryptedFileField."""
    (folder / "letter.txt").write_bytes(b"in clear")
    one = Receipt.objects.create(tenant_id="north")
    Receipt.objects.update(paper="letter.txt")
    one = Receipt.objects.get()
    with pytest.raises(AssertionError, match="stored in clear"):
        assert_encrypted(one, "paper")
    with pytest.raises(InvalidCiphertext):
        one.paper.open()
    with one.paper.storage.open(one.paper.name) as plain:
        one.paper.save(one.paper.name, plain)
    one.paper.storage.delete("letter.txt")
    found = Receipt.objects.get()
    assert (content(found.paper), found.paper.original_name) == (b"in clear", "letter.txt")
    assert_encrypted(found, "paper")
    assert_encrypted(Receipt(tenant_id="north"), "paper")


def test_a_save_writes_the_name_only_of_a_file_that_the_row_was_given(folder: Path) -> None:
    """Another name may have come meanwhile, by a command that moved the file."""
    scan()
    one = Scan.objects.get()
    Scan.objects.update(image="elsewhere")
    one.save()
    assert Scan.objects.get().image.name == "elsewhere"
    one.image = ContentFile(b"new", "new.png")
    again = pickle.loads(pickle.dumps(one))
    assert again.image.name == "new.png"
    one.save()
    assert content(Scan.objects.get().image) == b"new"
    one.image.save("newer.png", ContentFile(b"newer"), save=False)
    pickle.loads(pickle.dumps(one)).save()
    assert content(Scan.objects.get().image) == b"newer"
