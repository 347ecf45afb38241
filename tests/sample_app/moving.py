"""One table, seen by the code of each deploy of a move: before it, in each state, and after it."""

from __future__ import annotations

import uuid
from functools import cache
from typing import Any

from django.apps.registry import Apps
from django.db import models

from encrypted_fields import EncryptedField, PlaintextField
from encrypted_fields.search import Exact, IndexColumn, Unique

TABLE = "sample_app_member"


def moving(inner: models.Field[Any, Any], column: str, plaintext: str, state: str | None, **options: Any) -> Any:
    """The field `column` of the code that says `state`; its ciphertext lies in `column`_encrypted."""
    inner.db_column = f"{column}_encrypted"
    if state is None:
        return EncryptedField(inner, **options)
    return EncryptedField(inner, plaintext=plaintext, state=state, **options)


@cache
def member(state: str) -> Any:
    """The model as one deploy has it: "before", a state, or "after"."""
    meta = type("Meta", (), {"app_label": "sample_app", "db_table": TABLE, "apps": Apps()})
    fields: dict[str, Any] = {
        "__module__": __name__,
        "Meta": meta,
        "cmk_tenant_from": "tenant_id",
        "cmk_model_id": "sample_app.member",
        "id": models.BigAutoField(primary_key=True),
        "tenant_id": models.CharField(max_length=40),
        "note": models.CharField(max_length=40, default=""),
    }
    if state == "before":
        fields["name"] = models.CharField(max_length=40)
        fields["born"] = models.DateField(null=True)
        return type("Member", (models.Model,), fields)
    if state != "after":
        fields["name_plain"] = PlaintextField(models.CharField(max_length=40, db_column="name"))
        fields["born_plain"] = PlaintextField(models.DateField(null=True, db_column="born"))
    told = None if state == "after" else state
    fields["name"] = moving(models.CharField(max_length=40, null=told is None), "name", "name_plain", told)
    fields["born"] = moving(models.DateField(null=True), "born", "born_plain", told)
    return type("Member", (models.Model,), fields)


class Mover(models.Model):
    """In the middle of a move, for the commands: bound to its row, indexed in clear, of two types."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    counter = models.IntegerField(default=0)
    name_plain = PlaintextField(models.CharField(max_length=60, db_column="name", db_index=True))
    name = EncryptedField(
        models.CharField(max_length=60, db_column="name_encrypted"), plaintext="name_plain", state="dual"
    )
    born_plain = PlaintextField(models.DateField(null=True, db_column="born"))
    born = EncryptedField(models.DateField(null=True, db_column="born_encrypted"), plaintext="born_plain", state="dual")

    cmk_tenant_from = "tenant_id"


@cache
def mover(state: str) -> Any:
    """The table of `Mover` for the code of another deploy: a state, "after", or "raw" for its bytes."""
    meta = type("Meta", (), {"app_label": "sample_app", "db_table": "sample_app_mover", "apps": Apps()})
    fields: dict[str, Any] = {
        "__module__": __name__,
        "Meta": meta,
        "cmk_tenant_from": "tenant_id",
        "cmk_model_id": "sample_app.mover",
        "id": models.UUIDField(primary_key=True, default=uuid.uuid4),
        "tenant_id": models.CharField(max_length=40),
        "counter": models.IntegerField(default=0),
    }
    if state == "raw":
        fields["name"], fields["born"] = models.CharField(max_length=60, null=True), models.DateField(null=True)
        fields["name_encrypted"], fields["born_encrypted"] = (
            models.BinaryField(null=True),
            models.BinaryField(null=True),
        )
        return type("RawMover", (models.Model,), fields)
    if state != "after":
        fields["name_plain"] = PlaintextField(models.CharField(max_length=60, db_column="name"))
        fields["born_plain"] = PlaintextField(models.DateField(null=True, db_column="born"))
    told = None if state == "after" else state
    fields["name"] = moving(models.CharField(max_length=60, null=told is None), "name", "name_plain", told)
    fields["born"] = moving(models.DateField(null=True), "born", "born_plain", told)
    return type("Mover", (models.Model,), fields)


@cache
def found(state: str) -> Any:
    """The table of people who are found by blind indexes, for the code of one deploy."""
    meta = type("Meta", (), {"app_label": "sample_app", "db_table": "sample_app_found", "apps": Apps()})
    fields: dict[str, Any] = {
        "__module__": __name__,
        "Meta": meta,
        "cmk_tenant_from": "tenant_id",
        "cmk_model_id": "sample_app.found",
        "id": models.BigAutoField(primary_key=True),
        "tenant_id": models.CharField(max_length=40),
    }
    if state == "before":
        fields["name"], fields["login"] = models.CharField(max_length=40), models.CharField(max_length=40)
        return type("Found", (models.Model,), fields)
    if state != "after":
        for name in ("name", "login"):
            fields[f"{name}_plain"] = PlaintextField(models.CharField(max_length=40, db_column=name))
    told = None if state == "after" else state
    inner: Any = lambda: models.CharField(max_length=40, null=told is None)  # noqa: E731
    fields["name"] = moving(inner(), "name", "name_plain", told, index=[Exact()])
    fields["login"] = moving(inner(), "login", "login_plain", told, index=[Unique()])
    fields["pair"] = IndexColumn(["name", "login"], Exact())
    return type("Found", (models.Model,), fields)
