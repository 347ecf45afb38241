"""Encrypted pictures: measured from the plaintext, validated by forms, never opened because a row was loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import models
from django.forms import modelform_factory

from encrypted_fields import EncryptedImageField
from encrypted_fields.core.errors import KmsRefused
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.pictures import picture
from tests.sample_app.models import Photo

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Photo._meta.get_field("picture"), "storage", FileSystemStorage(tmp_path))
    return tmp_path


def test_measures_the_plaintext_and_asks_for_no_key_more(cmk_tsp: MemoryTsp) -> None:
    one = Photo(tenant_id="north", picture=picture(30, 20))
    assert (one.width, one.height) == (30, 20)
    one.save()
    one.picture.save("other.png", picture(7, 8))
    assert [call.route for call in cmk_tsp.calls] == ["wrap", "wrap"]
    found = Photo.objects.get()
    assert (found.width, found.height, found.picture.width, found.picture.height) == (7, 8, 7, 8)
    assert found.picture.closed
    found.picture = ""
    assert (found.width, found.height) == (None, None)


def test_loading_a_row_opens_nothing(cmk_tsp: MemoryTsp) -> None:
    """Even when its measures are missing: the audit trail shows what was looked at."""
    Photo.objects.create(tenant_id="north", picture=picture(3, 2))
    Photo.objects.update(width=None, height=None)
    cmk_tsp.revoke("north")
    with counted(cmk_tsp) as calls:
        one = Photo.objects.get()
        one.save()
    assert calls == []
    assert one.picture.locked
    with pytest.raises(KmsRefused):
        one.picture.width  # noqa: B018


def test_forms_take_pictures_only(cmk_tsp: MemoryTsp) -> None:
    form_class: Any = modelform_factory(Photo, fields=["tenant_id", "picture"])
    form = form_class({"tenant_id": "north"}, {"picture": SimpleUploadedFile("x.png", b"no picture", "image/png")})
    assert "valid image" in str(form.errors["picture"])
    form = form_class({"tenant_id": "north"}, {"picture": picture(3, 2)})
    assert form.is_valid(), form.errors
    one = form.save()
    with counted(cmk_tsp) as calls:
        form = form_class({"tenant_id": "north"}, instance=Photo.objects.get())
        assert form.is_valid(), form.errors
        form.save()
    assert calls == []
    assert Photo.objects.get().picture == one.picture
    form = form_class({"tenant_id": "north", "picture-clear": "on"}, instance=Photo.objects.get())
    assert form.is_valid(), form.errors
    form.save()
    assert not Photo.objects.get().picture
    assert Photo.objects.get().width is None


def test_migrations_keep_the_options() -> None:
    field = EncryptedImageField(upload_to="x", width_field="w", private_names=True, unused="delete", url_from="page")
    _, path, args, kwargs = field.deconstruct()
    assert path == "encrypted_fields.EncryptedImageField"
    assert kwargs == {
        "upload_to": "x",
        "width_field": "w",
        "private_names": True,
        "unused": "delete",
        "url_from": "page",
    }
    assert EncryptedImageField(*args, **kwargs).deconstruct() == field.deconstruct()
    assert isinstance(field, models.ImageField)


def test_pillow_is_loaded_only_when_a_picture_is_looked_at() -> None:
    code = (
        "import django; from django.conf import settings; settings.configure(); django.setup(); import sys;"
        "import encrypted_fields; encrypted_fields.EncryptedImageField; assert 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
