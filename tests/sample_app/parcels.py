"""One table with files, seen by the code of each deploy of a move: before it, in each state, and after it."""

from __future__ import annotations

import uuid
from functools import cache
from typing import Any

from django.apps.registry import Apps
from django.db import models

from encrypted_fields import EncryptedFileField, EncryptedImageField, PlaintextField

TABLE = "sample_app_parcel"


class Parcel(models.Model):
    """In the middle of a move, for the commands: bound to its row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    note = models.CharField(max_length=40, default="")
    slip_plain = PlaintextField(models.FileField(upload_to="slips", blank=True, db_column="slip"))
    slip = EncryptedFileField(
        upload_to="slips", blank=True, db_column="slip_encrypted", plaintext="slip_plain", state="readable"
    )

    cmk_tenant_from = "tenant_id"


@cache
def parcel(state: str, **options: Any) -> Any:
    """The model as one deploy has it: "before", a state, or "after". `options`: of the encrypted field."""
    fields: dict[str, Any] = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "sample_app", "db_table": TABLE, "apps": Apps()}),
        "cmk_tenant_from": "tenant_id",
        "cmk_model_id": "sample_app.parcel",
        "id": models.UUIDField(primary_key=True, default=uuid.uuid4),
        "tenant_id": models.CharField(max_length=40),
        "note": models.CharField(max_length=40, default=""),
    }
    if state == "before":
        fields["slip"] = models.FileField(upload_to="slips", blank=True)
        return type("Parcel", (models.Model,), fields)
    sealed: dict[str, Any] = {"upload_to": "slips", "blank": True, "db_column": "slip_encrypted", **options}
    if state == "after":
        fields["slip"] = EncryptedFileField(null=True, **sealed)
    else:
        fields["slip_plain"] = PlaintextField(models.FileField(upload_to="slips", blank=True, db_column="slip"))
        fields["slip"] = EncryptedFileField(plaintext="slip_plain", state=state, **sealed)
    return type("Parcel", (models.Model,), fields)


@cache
def poster(state: str) -> Any:
    """A picture with its measures, on its way."""
    return type("Poster", (models.Model,), {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "sample_app", "db_table": "sample_app_poster", "apps": Apps()}),
        "cmk_tenant_from": "tenant_id",
        "tenant_id": models.CharField(max_length=40),
        "width": models.IntegerField(null=True),
        "height": models.IntegerField(null=True),
        "image": EncryptedImageField(
            upload_to="posters", db_column="image_encrypted", width_field="width", height_field="height",
            plaintext="image_plain", state=state,
        ),
        "image_plain": PlaintextField(
            models.ImageField(upload_to="posters", db_column="image", width_field="width", height_field="height")
        ),
    })  # fmt: skip
