"""Values and files that a browser sealed: stored as they came, refused in any other shape, unreadable here."""

from __future__ import annotations

import base64
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.core import serializers as fixtures
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import models, transaction
from django.forms import ClearableFileInput, Form, Textarea, modelform_factory
from django.test import RequestFactory
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey
from rest_framework import serializers

from encrypted_fields import ClientSealed, ClientSealedField, ClientSealedFileField, Recipient
from encrypted_fields.http import encrypted_response
from encrypted_fields.recipients import recipients_of
from encrypted_fields.sealed_forms import ClientSealedFormField, sealing_media
from encrypted_fields.testing import MemoryTsp, assert_encrypted, counted, stored_bytes
from tests.sample_app import filed
from tests.sample_app.models import Estate
from tests.support import client_sealing

pytestmark = pytest.mark.django_db
KEY, OTHER = PrivateKey(bytes(range(32))), PrivateKey(bytes(range(1, 33)))
WILL: Any = Estate._meta.get_field("will")
SCAN: Any = Estate._meta.get_field("scan")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Iterator[Path]:
    monkeypatch.setattr(SCAN, "storage", FileSystemStorage(tmp_path))
    filed.READERS[:] = [Recipient("notary", bytes(KEY.public_key))]
    yield tmp_path
    filed.READERS.clear()


def place(row: Estate, field: Any = WILL, *, bound: bool = True) -> bytes:
    return base64.b64decode(field.place(row, bound=bound))


def sealed(row: Estate, text: bytes = b"to my cat", *, keys: Any = (KEY,), bound: bool = True) -> bytes:
    return client_sealing.seal(text, list(keys), place(row, bound=bound), bound=bound)


def sealed_file(row: Estate, data: bytes = b"x" * 100_000, keys: Any = (KEY,)) -> SimpleUploadedFile:
    data = client_sealing.seal(data, list(keys), place(row, SCAN), name="will.txt")
    return SimpleUploadedFile("sealed", data)


@pytest.fixture
def will() -> Estate:
    row = Estate(tenant_id="north", title="will")
    row.will = sealed(row)
    row.save()
    return row


def test_stores_what_it_cannot_read(will: Estate, cmk_tsp: MemoryTsp) -> None:
    with counted(cmk_tsp) as calls:
        found = Estate.objects.get()
        assert client_sealing.unseal(found.will, KEY, place(found)).data == b"to my cat"
    assert calls == []  # no key of the tenant is in play
    assert isinstance(found.will, ClientSealed)
    assert found.will == stored_bytes(will, "will") == base64.b64decode(found.will.base64)
    assert str(found.will) == "sealed in the browser for 1 recipient"
    assert repr(found.will) == "<ClientSealed for 1>"
    assert found.will.recipients == (client_sealing.key_id(KEY),)
    assert found.title == "will"  # and beside it a value under the tenant's key
    assert pickle.loads(pickle.dumps(found)).will == found.will


@pytest.mark.parametrize("value", [b"to my cat", "to my cat", b"", bytes(200), b"CMKE\x01" + bytes(300), 5], ids=repr)
def test_takes_no_plaintext(will: Estate, value: Any) -> None:
    before = stored_bytes(will, "will")
    for change in (lambda: setattr(will, "will", value) or will.save(), lambda: Estate.objects.update(will=value)):
        with pytest.raises(ValueError, match="never a plaintext"), transaction.atomic():
            change()
    assert stored_bytes(will, "will") == before


def test_moved_text_does_not_open(will: Estate) -> None:
    other = Estate(tenant_id="south")
    for wrong in (
        place(Estate(pk=will.pk, tenant_id="south")),
        place(other),
        place(will, SCAN),
        place(will, bound=False),
    ):
        with pytest.raises((CryptoError, RuntimeError)):
            client_sealing.unseal(will.will, KEY, wrong)


def form_of(row: Estate, data: Any = None, files: Any = None) -> Any:
    return modelform_factory(Estate, fields=["title", "will", "scan"])(data, files, instance=row)


def sent(value: bytes, **more: str) -> dict[str, str]:
    return {"title": "t", "will": base64.b64encode(value).decode(), **more}


def test_a_form_takes_what_was_sealed_for_its_row(will: Estate) -> None:
    new = sealed(will, b"to my dog")
    form = form_of(will, sent(new), {"scan": sealed_file(will)})
    assert form.is_valid(), form.errors
    form.save()
    found = Estate.objects.get()
    assert found.will == new
    with found.scan.open() as file:
        opened = client_sealing.unseal(file.read(), KEY, base64.b64decode(found.get_scan_place()))
    assert (opened.name, opened.data) == ("will.txt", b"x" * 100_000)
    assert found.scan.shape.size == 100_000


def test_a_form_that_carries_nothing_keeps_what_was_there(will: Estate) -> None:
    before = will.will
    will.scan = sealed_file(will)
    will.save()
    form = form_of(will, {"title": "another"})
    assert form.is_valid(), form.errors
    form.save()
    found = Estate.objects.get()
    assert (found.title, found.will) == ("another", before)
    assert found.scan.shape.size == 100_000
    form = form_of(found, {"title": "x", "scan-clear": "on", "will-clear": "on"})  # a required one cannot be cleared
    assert form.is_valid(), form.errors
    form.save()
    assert not Estate.objects.get().scan
    assert Estate.objects.get().will == before


def test_a_form_names_what_it_does_not_take(will: Estate) -> None:
    elsewhere = Estate(tenant_id="north")
    cases = [
        (b"a plaintext", "not sealed in the browser"),
        (sealed(will, keys=[KEY, OTHER]), "recipients have changed"),
        (sealed(will, keys=[OTHER]), "recipients have changed"),
        (sealed(will, bound=False), "not sealed for this row"),
        (sealed(will, b"x" * 1100), "longer than 1000"),
        (client_sealing.seal(b"f", [KEY], place(elsewhere), name="f"), "not sealed in the browser"),
    ]
    for value, text in cases:
        assert text in str(form_of(will, sent(value)).errors["will"])
    for upload, text in [
        (SimpleUploadedFile("f", b"a plaintext"), "not sealed in the browser"),
        (SimpleUploadedFile("f", sealed(will)), "not sealed in the browser as a file"),
        (sealed_file(will, keys=[OTHER]), "recipients have changed"),
        (sealed_file(will, bytes(200_001)), "longer than 200000"),
    ]:
        assert text in str(form_of(will, sent(will.will), {"scan": upload}).errors["scan"])
    assert "required" in str(form_of(Estate(tenant_id="north"), {"title": "t"}).errors["will"])


def test_a_row_that_does_not_exist_yet(will: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place has no row yet; a field with bind_row=True waits until there is one."""
    new = Estate(tenant_id="north")
    value = sealed(new, bound=False)
    form = form_of(new, sent(value))
    assert form.is_valid(), form.errors
    form.save()
    found = Estate.objects.get(pk=new.pk)
    assert client_sealing.unseal(found.will, KEY, base64.b64decode(found.get_will_place())).data == b"to my cat"
    monkeypatch.setattr(WILL, "bind_row", True)
    assert "Save the row first" in str(form_of(Estate(tenant_id="north"), sent(value)).errors["will"])


def test_the_widget_has_no_name_for_what_is_typed(will: Estate) -> None:
    shown = str(form_of(Estate.objects.get()))
    assert ' name="will"' not in shown
    assert ' name="scan"' not in shown
    assert f'data-place="{WILL.place(will, bound=True)}" data-bound="1"' in shown
    assert "notary" in shown
    assert client_sealing.key_id(KEY) in shown
    assert "Now: sealed in the browser for 1 recipient." in shown
    filed.READERS.clear()
    assert "nobody to seal it to yet" in str(form_of(Estate.objects.get()))
    again = str(form_of(Estate.objects.get(), {"title": "", "will": "Zm9v"}))
    assert 'data-kept="Zm9v"' in again  # a form that comes back for another mistake keeps what was sealed
    assert "Now: sealed in the browser" in str(form_of(Estate.objects.get(), {"title": ""}))  # and says what is there


def test_the_widget_waits_for_its_script(will: Estate) -> None:
    """What is typed before the script is there would be lost."""
    assert str(form_of(will)).count(" disabled data-cmk-waits") == 2
    form = form_of(will)
    form.fields["will"].disabled = True
    shown = str(form["will"])
    assert " disabled" in shown
    assert "data-cmk-waits" not in shown  # the script does not enable what the form has disabled


def test_no_form_and_no_admin_gets_an_input_that_submits(will: Estate, admin_user: Any) -> None:
    """The admin has a widget for all file fields, and a form may ask for one: both would send what is typed."""
    request = RequestFactory().get("/")
    request.user = admin_user
    admin_form: Any = ModelAdmin(Estate, AdminSite()).get_form(request, will)
    other = {"will": Textarea, "scan": ClearableFileInput()}
    for form in (
        admin_form(instance=Estate.objects.get()),
        modelform_factory(Estate, fields=["will", "scan"], widgets=other)(instance=Estate.objects.get()),
    ):
        shown = str(form["will"]) + str(form["scan"])
        assert shown.count("data-cmk-seal=") == 2
        assert ' name="will"' not in shown
        assert ' name="scan"' not in shown
        assert "seal.js" in str(form.media)


def test_the_scripts_come_in_order(settings: Any) -> None:
    scripts = str(sealing_media()).splitlines()
    assert [script.split('"')[1].rsplit("/")[-1] for script in scripts] == [
        "libsodium.js",
        "libsodium-wrappers.js",
        "seal.js",
    ]
    assert [("defer" in script, 'type="module"' in script) for script in scripts] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    settings.CMK_LIBSODIUM = ["my/sodium.js"]
    assert "my/sodium.js" in str(form_of(Estate(tenant_id="north")).media)


def test_belongs_into_a_model_form() -> None:
    class Loose(Form):
        will = ClientSealedFormField(sealed=WILL)

    with pytest.raises(TypeError, match="ModelForm"):
        str(Loose())


def test_a_sealed_file_is_stored_as_it_came(will: Estate, folder: Path) -> None:
    upload = sealed_file(will)
    data = upload.read()
    will.scan = upload
    will.save()
    (file,) = folder.rglob("*/*")
    assert file.read_bytes() == data
    assert len(file.name) == 32
    found = Estate.objects.get()
    assert (found.scan.size, found.scan.locked, found.scan.original_name) == (len(data), False, "sealed")
    assert found.scan.shape.recipients == (client_sealing.key_id(KEY),)
    found.save()
    response: Any = encrypted_response(RequestFactory().get("/", headers={"Range": "bytes=0-4"}), found.scan)
    assert (response.status_code, b"".join(response.streaming_content)) == (206, b"CMKE\x01")
    assert response["Content-Disposition"] == 'attachment; filename="sealed"'
    response.close()
    assert_encrypted(found, "scan")
    assert_encrypted(found, "will")


def test_a_plain_file_is_never_stored(will: Estate, folder: Path) -> None:
    will.scan = ContentFile(b"a plaintext", "will.txt")
    with pytest.raises(ValueError, match="not sealed in the browser"), transaction.atomic():
        will.save()
    assert not list(folder.rglob("*/*"))


def test_a_sealed_file_is_not_carried_to_another_row(will: Estate) -> None:
    will.scan = sealed_file(will)
    will.save()
    with pytest.raises(ValueError, match="cannot be carried to another row"):
        Estate(tenant_id="north", scan=will.scan)
    will.refresh_from_db()
    assert will.scan.shape.size == 100_000


def test_a_failed_upload_leaves_nothing(will: Estate, folder: Path) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 65_536:
                raise TimeoutError
            return super().read(size)

    upload: Any = ContentFile(b"", "sealed")
    data = sealed_file(will).read()
    upload.file, upload.size = Breaking(data), len(data)
    will.scan = upload
    with pytest.raises(TimeoutError), transaction.atomic():
        will.save()
    assert not list(folder.rglob("*/*"))


def test_serializers_and_fixtures_carry_base64(will: Estate) -> None:
    class EstateSerializer(serializers.ModelSerializer[Estate]):
        class Meta:
            model = Estate
            fields = ("will", "scan")

    shown = dict(EstateSerializer(Estate.objects.get()).data)
    assert shown.pop("scan") is None
    assert shown == {
        "will": will.will.base64 if isinstance(will.will, ClientSealed) else base64.b64encode(will.will).decode()
    }
    taken = EstateSerializer(data=shown)
    assert taken.is_valid(), taken.errors
    assert taken.validated_data["will"] == will.will
    assert not EstateSerializer(data={"will": "a plaintext"}).is_valid()
    plain = EstateSerializer(data={**shown, "scan": SimpleUploadedFile("will.txt", b"a plaintext")})
    assert not plain.is_valid()
    assert "not sealed in the browser" in str(plain.errors["scan"])
    good = EstateSerializer(data={**shown, "scan": sealed_file(will)})
    assert good.is_valid(), good.errors
    dump = fixtures.serialize("json", Estate.objects.all())
    Estate.objects.all().delete()
    for row in fixtures.deserialize("json", dump):
        row.save()
    assert Estate.objects.get().will == will.will


def test_full_clean_keeps_to_the_shape(will: Estate) -> None:
    found = Estate.objects.get()
    found.full_clean()
    found.will = "a plaintext"
    found.scan = ContentFile(b"a plaintext", "will.txt")
    with pytest.raises(ValidationError) as refused:
        found.full_clean()
    assert set(refused.value.message_dict) == {"will", "scan"}


def test_recipients_are_checked_where_they_come_from() -> None:
    twice = [Recipient("a", bytes(KEY.public_key)), Recipient("b", bytes(KEY.public_key))]
    assert len(recipients_of(lambda _: twice, None)) == 1
    with pytest.raises(ValueError, match="32 bytes"):
        recipients_of(lambda _: [Recipient("a", b"short")], None)
    with pytest.raises(ValueError, match="at most 64"):
        recipients_of(lambda _: [Recipient("a", bytes([n]) * 32) for n in range(65)], None)


def test_migrations_keep_the_options() -> None:
    for field, path in [
        (ClientSealedField(recipients="readers", bind_row=True, max_size=5, null=True), "ClientSealedField"),
        (
            ClientSealedFileField(recipients="readers", upload_to="x", tenant_from="t", max_size=5),
            "ClientSealedFileField",
        ),
    ]:
        _, found, args, kwargs = field.deconstruct()
        assert found == f"encrypted_fields.{path}"
        assert "private_names" not in kwargs
        assert "editable" not in kwargs
        assert type(field)(*args, **kwargs).deconstruct() == field.deconstruct()
        assert kwargs["recipients"] == "readers"


def test_checks_name_what_cannot_work() -> None:
    class Wrong(models.Model):
        text = ClientSealedField(recipients="nobody", tenant_from="nothing")
        file = ClientSealedFileField(upload_to="x")

        class Meta:
            app_label = "wrong_sealed"
            managed = False

    assert [one.id for one in Wrong._meta.get_field("text").check()] == [
        "encrypted_fields.E054",
        "encrypted_fields.E055",
    ]
    assert [one.id for one in Wrong._meta.get_field("file").check()] == ["encrypted_fields.E054"]
    assert Estate.check() == []
