"""Encrypted files in admin, forms and serializers: names and addresses, never a plaintext, never a key asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.helpers import AdminReadonlyField
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import models
from django.forms import modelform_factory
from django.test import RequestFactory
from rest_framework import serializers

from encrypted_fields import EncryptedFileField
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.pictures import picture
from tests.sample_app.models import Photo, Scan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cmk_tsp: MemoryTsp) -> Photo:
    for field in (*Photo._meta.local_fields, *Scan._meta.local_fields):
        if isinstance(field, EncryptedFileField):
            monkeypatch.setattr(field, "storage", FileSystemStorage(tmp_path, base_url="/media/"))
    contract = ContentFile(b"a canary", "Ann's contract.pdf")
    return Photo.objects.create(tenant_id="north", picture=picture(3, 2, "Ann's knee.png"), contract=contract)


def test_a_form_shows_the_stored_name_and_the_page_that_opens_it(one: Photo, cmk_tsp: MemoryTsp) -> None:
    cmk_tsp.revoke("north")
    with counted(cmk_tsp) as calls:
        shown = str(modelform_factory(Photo, fields=["picture", "contract"])(instance=Photo.objects.get()))
    assert calls == []
    assert f'<a href="/contracts/{one.pk}/">' in shown
    assert one.picture.name in shown
    assert "knee" not in shown
    assert "canary" not in shown


def test_a_form_of_a_locked_row_saves_without_its_file(one: Photo, cmk_tsp: MemoryTsp) -> None:
    cmk_tsp.revoke("north")
    form = modelform_factory(Photo, fields=["tenant_id", "contract"])({"tenant_id": "north"}, instance=one)
    assert form.is_valid(), form.errors
    form.save()
    cmk_tsp.restore("north")
    with Photo.objects.get().contract.open() as file:
        assert file.read() == b"a canary"


def test_the_admin_shows_and_saves_it(one: Photo, cmk_tsp: MemoryTsp, admin_user: Any) -> None:
    admin = ModelAdmin(Photo, AdminSite())
    request = RequestFactory().get("/")
    request.user = admin_user
    admin.readonly_fields = ("contract",)
    cmk_tsp.revoke("north")
    with counted(cmk_tsp) as calls:
        found = Photo.objects.get()
        form: Any = admin.get_form(request, found)(instance=found)
        shown = str(form) + AdminReadonlyField(form, "contract", is_first=True, model_admin=admin).contents()
    assert calls == []
    assert f'<a href="/contracts/{one.pk}/">' in shown
    assert one.picture.name in shown
    assert "knee" not in shown


def test_serializers_give_the_address_and_take_uploads(one: Photo, cmk_tsp: MemoryTsp) -> None:
    class PhotoSerializer(serializers.ModelSerializer[Photo]):
        class Meta:
            model = Photo
            fields = ("tenant_id", "picture", "contract")

    made = PhotoSerializer()
    assert isinstance(made.fields["picture"], serializers.ImageField)
    assert isinstance(made.fields["contract"], serializers.FileField)
    cmk_tsp.revoke("north")
    with counted(cmk_tsp) as calls:
        shown = PhotoSerializer(Photo.objects.get()).data
    assert calls == []
    assert shown["contract"] == f"/contracts/{one.pk}/"
    cmk_tsp.restore("north")
    bad = PhotoSerializer(data={"tenant_id": "north", "picture": SimpleUploadedFile("x.png", b"no picture")})
    assert not bad.is_valid()
    good = PhotoSerializer(data={"tenant_id": "north", "picture": picture(5, 4)})
    assert good.is_valid(), good.errors
    assert good.save().width == 5


def test_checks_name_what_cannot_work() -> None:
    class Wrong(models.Model):
        file = EncryptedFileField(
            upload_to="a-folder", bind_row=True, tenant_from="nothing", unused="shred",  # type: ignore[arg-type]
            url_from="nowhere", max_length=30,
        )  # fmt: skip

        class Meta:
            app_label = "wrong_files"
            managed = False

    found = [one.id.removeprefix("encrypted_fields.") for one in Wrong._meta.get_field("file").check() if one.id]
    assert found == ["E050", "E051", "E051", "E052", "E053"]
    assert [one.id for one in Photo.check() + Scan.check()] == []
