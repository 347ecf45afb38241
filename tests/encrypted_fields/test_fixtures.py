"""Fixtures hold ciphertext, which loads back unchanged; plaintext only where somebody asks for it."""

from __future__ import annotations

import io
import json
import uuid
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.core.serializers.base import DeserializationError
from django.db import connection, models
from django.forms import modelform_factory
from django.test import override_settings
from django.test.utils import isolate_apps

from encrypted_fields import EncryptedField, Locked, Stored, ciphertext_for, plaintext_fixtures, tenant
from encrypted_fields.core import text
from encrypted_fields.core.errors import InvalidCiphertext, TspUnreachable
from encrypted_fields.testing import MemoryTsp, assert_encrypted, counted
from tests.encrypted_fields.people import BORN, person
from tests.sample_app.models import Everything, Note, Patient
from tests.sample_app.searchable import Customer
from tests.vectors.corpus import load

pytestmark = pytest.mark.django_db
FORMATS = ("json", "jsonl", "xml", "yaml")


def dumped(path: Path, *models: str) -> str:
    call_command("dumpdata", *models, output=str(path), verbosity=0)
    return path.read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_dumpdata_writes_ciphertext_and_loaddata_stores_it_unchanged(
    cmk_tsp: MemoryTsp, tmp_path: Path, form: str
) -> None:
    one = person(diagnosis="canary-7f3a", file_number=77_113_355)
    person(diagnosis=None)
    before = {name: ciphertext_for(one, name) for name in ("diagnosis", "born", "file_number")}
    file = tmp_path / f"patients.{form}"
    cmk_tsp.failing = TspUnreachable()  # neither way asks for a key
    written = dumped(file, "sample_app.Patient", "--format", form)
    assert "canary" not in written
    assert "77113355" not in written
    assert "1990-05-17" not in written
    assert written.count("cmk:1:") == 4
    Patient.objects.all().delete()
    call_command("loaddata", str(file), verbosity=0)
    call_command("loaddata", str(file), verbosity=0)  # over existing rows, too
    assert {name: ciphertext_for(one, name) for name in before} == before
    cmk_tsp.failing = None
    found = Patient.objects.get(pk=one.pk)
    assert (found.diagnosis, found.born, found.file_number) == ("canary-7f3a", BORN, 77_113_355)
    assert Patient.objects.exclude(pk=one.pk).get().diagnosis is None


def test_python_objects_and_rows_that_were_looked_at(cmk_tsp: MemoryTsp) -> None:
    """What was opened or changed is sealed again; histories built on serializers get no plaintext either."""
    one = person(diagnosis="canary-7f3a")
    (data,) = serializers.serialize("python", [one])
    assert "canary" not in str(data)
    one.diagnosis = "canary-7f3b"
    (row,) = serializers.deserialize("python", serializers.serialize("python", [one]))
    assert isinstance(row.object.diagnosis, Stored)
    row.save()
    assert Patient.objects.get().diagnosis == "canary-7f3b"
    lazy = Patient.objects.defer("diagnosis").get()
    assert "canary" not in serializers.serialize("json", [lazy])
    cmk_tsp.revoke("north")
    locked = Patient.objects.get()
    assert isinstance(locked.diagnosis, Locked)
    assert str(text.sealed_text(ciphertext_for(one, "diagnosis") or b"")) in serializers.serialize("json", [locked])


@pytest.mark.parametrize("form", FORMATS)
def test_plaintext_is_opt_in_and_sealed_when_it_is_loaded(cmk_tsp: MemoryTsp, tmp_path: Path, form: str) -> None:
    one = person(diagnosis="cmk:1: looks like ours")
    person(diagnosis="plain")
    file = tmp_path / f"patients.{form}"
    with plaintext_fixtures():
        written = dumped(file, "sample_app.Patient", "--format", form)
    assert "cmk:0:cmk:1: looks like ours" in written
    assert "1990-05-17" in written
    Patient.objects.all().delete()
    call_command("loaddata", str(file), verbosity=0)
    assert (ciphertext_for(one, "diagnosis") or b"").startswith(b"CMK")
    found = Patient.objects.get(pk=one.pk)
    assert (found.diagnosis, found.born) == ("cmk:1: looks like ours", BORN)
    with override_settings(CMK_PLAINTEXT_FIXTURES=True):
        assert "looks like ours" in dumped(file, "sample_app.Patient", "--format", form)


def test_every_type_comes_back(cmk_tsp: MemoryTsp, tmp_path: Path) -> None:
    values: dict[str, Any] = {"text": "", "integer": 0, "flag": False, "json": {"a": [1, None]}, "binary": b"\x00\xff"}
    with tenant("north"):
        Everything.objects.create(**values)
        for fixture in ("sealed", "plain"):
            with plaintext_fixtures() if fixture == "plain" else tenant("north"):
                dumped(tmp_path / f"{fixture}.json", "sample_app.Everything")
            Everything.objects.all().delete()
            call_command("loaddata", str(tmp_path / f"{fixture}.json"), verbosity=0)
            found = Everything.objects.get()
            assert {name: getattr(found, name) for name in values} == values


@pytest.mark.parametrize("bad", ["cmk:2:AAAA", "cmk:1:", "cmk:1:!!", "cmk:1:Q01L", "cmk:x", "cmk:1:Q01LAQ=="])
def test_refuses_what_only_looks_like_a_stored_value(cmk_tsp: MemoryTsp, bad: str) -> None:
    one = person()
    data = json.loads(serializers.serialize("json", [one]))
    data[0]["fields"]["diagnosis"] = bad
    with pytest.raises(DeserializationError):
        list(serializers.deserialize("json", json.dumps(data)))


def test_a_form_is_no_way_to_plant_ciphertext(cmk_tsp: MemoryTsp) -> None:
    """Pasted into a form, the text form is a text like any other: it is sealed, not opened."""
    with tenant("north"):
        victim = Note.objects.create(title="v", body="private")
        pasted = text.sealed_text(ciphertext_for(victim, "body") or b"")
        form = modelform_factory(Patient, fields=["diagnosis"])({"diagnosis": pasted}, instance=person())
        assert form.is_valid(), form.errors
        form.save()
        assert Patient.objects.get().diagnosis == pasted
        assert Note._meta.get_field("body").to_python(pasted) == pasted


def test_a_value_moved_inside_a_fixture_does_not_open(cmk_tsp: MemoryTsp) -> None:
    first, second = person(diagnosis="a"), person(diagnosis="b")
    data = json.loads(serializers.serialize("json", [first, second]))
    data[0]["fields"]["diagnosis"], data[1]["fields"]["diagnosis"] = (row["fields"]["diagnosis"] for row in data[::-1])
    for row in serializers.deserialize("json", json.dumps(data)):
        row.save()
    with pytest.raises(InvalidCiphertext):
        Patient.objects.get(pk=first.pk).diagnosis  # noqa: B018


@pytest.mark.parametrize("plain", [False, True])
def test_an_indexed_value_is_found_after_loading(cmk_tsp: MemoryTsp, tmp_path: Path, plain: bool) -> None:
    Customer.objects.create(tenant_id="north", email="ann@x.example")
    file = tmp_path / "customers.json"
    with plaintext_fixtures() if plain else tenant("north"):
        dumped(file, "sample_app.Customer")
    Customer.objects.all().delete()
    call_command("loaddata", str(file), verbosity=0)
    with tenant("north"):
        assert Customer.objects.get(email="ann@x.example").email == "ann@x.example"
        assert not Customer.objects.filter(email="bob@x.example").exists()


@pytest.mark.django_db(transaction=True)
@isolate_apps("tests.sample_app")
def test_a_history_that_copies_fields_is_sealed_on_its_own(cmk_tsp: MemoryTsp) -> None:
    """Complaint 21 (field-peers). As django-simple-history does it: copies of the fields, in a table of their own."""

    class Source(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        tenant_id = models.CharField(max_length=40, default="north")
        diagnosis = EncryptedField(models.TextField())
        cmk_tenant_from = "tenant_id"

        class Meta:
            app_label = "sample_app"

    copied = {one.name: copy(one) for one in Source._meta.local_fields if not one.primary_key}

    class History(models.Model):
        locals().update(copied)
        cmk_tenant_from = "tenant_id"

        class Meta:
            app_label = "sample_app"

    with connection.schema_editor() as editor:
        editor.create_model(Source)
        editor.create_model(History)
    try:
        one = Source.objects.create(diagnosis="canary-7f3a")
        row = History.objects.create(**{name: getattr(one, name) for name in copied})
        assert_encrypted(row, "diagnosis")
        assert History.objects.get().diagnosis == Source.objects.get().diagnosis == "canary-7f3a"
        with connection.cursor() as cursor:
            cursor.execute("UPDATE sample_app_history SET diagnosis = %s", [ciphertext_for(one, "diagnosis")])
        with pytest.raises(InvalidCiphertext):
            History.objects.get().diagnosis  # noqa: B018
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(History)
            editor.delete_model(Source)


def test_dumping_opens_nothing(cmk_tsp: MemoryTsp) -> None:
    person()
    with counted(cmk_tsp) as calls:
        call_command("dumpdata", "sample_app", stdout=io.StringIO())
    assert calls == []


def test_the_page_shows_the_text_form_of_its_example() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    (vector,) = [one for one in load("value") if one["name"] == "row-bound"]
    written = page.split("```text fixture/row-bound\n")[1].split("\n```")[0]
    assert text.sealed_text(bytes.fromhex(vector["stored"])) == written
    assert text.parse(written) == bytes.fromhex(vector["stored"])
