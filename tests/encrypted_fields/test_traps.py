"""The traps that packages for encrypted fields fell into, each as a promise that this one keeps.

The numbers are those of the study of twelve packages (trap n) and of what their users complained about (complaint n).
Search, files and the way from plaintext have their own tests.
"""

from __future__ import annotations

import base64
import datetime
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django import forms
from django.core.exceptions import FieldError, ValidationError
from django.db import connection, models
from django.db.migrations.writer import MigrationWriter
from django.db.models import Case, F, Value, When
from django.db.models.functions import Upper
from django.db.transaction import atomic
from django.test import override_settings
from django.test.utils import CaptureQueriesContext, isolate_apps

from encrypted_fields import EncryptedField, client, tenant
from encrypted_fields.core import envelope
from encrypted_fields.core.errors import CmkError, InvalidCiphertext
from encrypted_fields.testing import MemoryTsp, assert_encrypted, counted, stored_bytes
from tests.encrypted_fields.people import BORN, people, person
from tests.sample_app.models import Everything, Note, Patient

pytestmark = pytest.mark.django_db

CANARY = "canary-5e1f"


def put(obj: models.Model, field: str, stored: bytes) -> None:
    meta = obj._meta
    with connection.cursor() as cursor:
        cursor.execute(
            f'UPDATE "{meta.db_table}" SET "{field}" = %s WHERE id = %s',
            [stored, meta.pk.get_db_prep_value(obj.pk, connection)],
        )


# --- who may have something opened


@pytest.mark.parametrize(
    "written", [bytes.hex, lambda data: base64.b64encode(data).decode(), lambda d: d.decode("latin-1")]
)
def test_pasted_ciphertext_stays_what_it_is(cmk_tsp: MemoryTsp, written: Any) -> None:
    """Trap 1: forms, full_clean and assignment open nothing, so that they are no oracle."""
    shown = written(stored_bytes(person(diagnosis=CANARY), "diagnosis") or b"")
    pasted = (shown.decode() if isinstance(shown, bytes) else shown).replace("\x00", "")
    form = forms.modelform_factory(Patient, fields=["diagnosis"])({"diagnosis": pasted})
    with counted(cmk_tsp) as calls:
        assert form.is_valid()
        row = form.save(commit=False)
        row.tenant_id = "north"
        row.clean_fields(exclude=["name", "born", "file_number"])
    assert calls == []
    row.save()
    assert Patient.objects.get(pk=row.pk).diagnosis == pasted.strip()


def test_pasted_bytes_are_sealed_once_more(cmk_tsp: MemoryTsp) -> None:
    """Trap 1, where the plain value is bytes and could be taken for a stored one."""
    with tenant("north"):
        stored = stored_bytes(Everything.objects.create(binary=b"secret"), "binary") or b""
        second = Everything.objects.create(binary=stored)
        assert Everything.objects.get(pk=second.pk).binary == stored


def test_a_failed_validation_leaves_nothing_behind(cmk_tsp: MemoryTsp) -> None:
    """Trap 2: a field has no state, so the next read opens and the next save seals once."""
    one = person()
    wrong = Patient(tenant_id="north", name="n" * 101, born="no date")
    with pytest.raises(ValidationError):
        wrong.full_clean()
    found = Patient.objects.get(pk=one.pk)
    assert (found.diagnosis, found.born) == ("flu", BORN)
    found.save()
    assert Patient.objects.get(pk=one.pk).diagnosis == "flu"


def test_fields_are_read_only_while_they_are_used(cmk_tsp: MemoryTsp) -> None:
    """Trap 2: nothing that a read, a write or a validation does changes the field object."""
    fields = [field for field in Patient._meta.fields if getattr(field, "cmk_encrypted", False)]

    def use(born: Any = BORN) -> None:
        one = person(born=born)
        Patient.objects.get(pk=one.pk).born  # noqa: B018
        list(Patient.objects.values("diagnosis", "born"))
        Patient.objects.update(diagnosis="x")
        Patient(tenant_id="north", name="n", diagnosis="d", born=BORN, file_number=1).full_clean()

    use()
    before = [dict(vars(field)) for field in fields]
    use(datetime.date(2000, 1, 1))
    with pytest.raises(ValidationError):
        Patient(born="no date").full_clean()
    assert [dict(vars(field)) for field in fields] == before


# --- when it does not open


def test_a_wrong_key_is_an_error_and_nothing_is_sealed_twice(cmk_tsp: MemoryTsp) -> None:
    """Traps 3 and 23, complaint 9: neither ciphertext nor None comes back, and a save keeps what is there."""
    one = person()
    before = stored_bytes(one, "diagnosis")
    with MemoryTsp():  # another proxy with other keys
        found = Patient.objects.get()
        with pytest.raises(InvalidCiphertext):
            found.diagnosis  # noqa: B018
        with pytest.raises(InvalidCiphertext):
            list(Patient.objects.values_list("diagnosis"))
        found.name = "Bea"
        found.save()
    assert stored_bytes(one, "diagnosis") == before
    assert Patient.objects.get().diagnosis == "flu"


def test_plaintext_in_the_column_is_not_read(cmk_tsp: MemoryTsp) -> None:
    """Trap 3: what was never sealed is an error too, not a value."""
    one = person()
    put(one, "diagnosis", b"plain text")
    with pytest.raises(InvalidCiphertext):
        Patient.objects.get().diagnosis  # noqa: B018


def test_one_spoilt_row_spoils_no_other(cmk_tsp: MemoryTsp) -> None:
    """Trap 25: its neighbours in the same batch open; the row itself can be found, counted and mended."""
    people(5)
    spoilt = Patient.objects.get(name="n00002")
    put(spoilt, "diagnosis", b"CMK\x01\x01\x00\x04EDEK" + bytes(40))
    rows = list(Patient.objects.order_by("name"))
    assert [row.diagnosis for row in rows if row.name != "n00002"] == ["d0", "d1", "d3", "d4"]
    with pytest.raises(InvalidCiphertext):
        rows[2].diagnosis  # noqa: B018
    assert Patient.objects.filter(diagnosis__isnull=False).count() == 5
    Patient.objects.filter(pk=spoilt.pk).update(diagnosis="mended")
    assert Patient.objects.get(pk=spoilt.pk).diagnosis == "mended"


@pytest.mark.parametrize(
    ("field", "value"), [("integer", CANARY), ("date", CANARY), ("decimal", CANARY), ("uuid", CANARY)]
)
def test_no_error_shows_the_value(cmk_tsp: MemoryTsp, field: str, value: str) -> None:
    """Trap 28: not in its text, its arguments, its causes."""
    with tenant("north"), pytest.raises(ValueError, match="does not fit") as caught, atomic():
        Everything.objects.create(**{field: CANARY})
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in f"{error!r} {error.args}"
        error = error.__cause__ or error.__context__


def test_no_error_shows_stored_bytes_or_keys(cmk_tsp: MemoryTsp) -> None:
    """Trap 28."""
    one = person(diagnosis=CANARY)
    put(one, "diagnosis", b"canary bytes that are no envelope")
    with pytest.raises(CmkError) as caught:
        Patient.objects.get().diagnosis  # noqa: B018
    assert "canary" not in f"{caught.value!r} {caught.value.args} {caught.value.__context__!r}"


# --- what is written


def test_an_expression_never_becomes_a_value(cmk_tsp: MemoryTsp) -> None:
    """Traps 4 and 5, complaints 10 and 11: neither its text nor what the database makes of it."""
    one = person(name=CANARY)
    before = stored_bytes(one, "diagnosis")
    for expression in (
        F("name"),
        Upper("name"),
        Case(When(name="x", then=F("name"))),
        Value(CANARY) if False else F("pk"),
    ):
        with pytest.raises(FieldError, match="is encrypted"), atomic():
            Patient.objects.update(diagnosis=expression)
        one.diagnosis = expression
        with pytest.raises(FieldError, match="is encrypted"), atomic():
            one.save()
    assert stored_bytes(one, "diagnosis") == before


def test_bulk_update_loses_nothing(cmk_tsp: MemoryTsp) -> None:
    """Traps 4 and 6, complaint 10."""
    rows = people(5)
    for row in rows:
        row.diagnosis = f"new {row.file_number}"
    Patient.objects.bulk_update(rows, ["diagnosis"])
    assert [row.diagnosis for row in Patient.objects.order_by("name")] == [f"new {n}" for n in range(5)]
    for row in rows:
        assert_encrypted(row, "diagnosis")


def test_numbers_keep_their_validators_and_adapters(cmk_tsp: MemoryTsp) -> None:
    """Trap 7, complaint 16: the range of the type is checked, whatever the column is; ints are saved."""
    with tenant("north"):
        for name, too_much in (("integer", 2**63), ("small", -(2**70)), ("positive", -1), ("big", 2**63)):
            with pytest.raises(ValidationError):
                Everything._meta.get_field(name).clean(too_much, None)
            assert_encrypted(Everything.objects.create(**{name: 7}), name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", ""),
        ("integer", 0),
        ("flag", False),
        ("real", 0.0),
        ("json", {}),
        ("json", 0),
        ("json", ""),
        ("binary", b""),
    ],
)
def test_falsy_values_are_values(cmk_tsp: MemoryTsp, field: str, value: Any) -> None:
    """Trap 8, complaint 13: sealed, not stored as NULL and not in clear."""
    with tenant("north"):
        made = Everything.objects.create(**{field: value})
        assert len(stored_bytes(made, field) or b"") > 50
        found = getattr(Everything.objects.get(), field)
    assert found == value
    assert type(found) is type(value)


def test_json_shows_neither_keys_nor_shape(cmk_tsp: MemoryTsp) -> None:
    """Trap 9, complaint 16: one value, sealed as a whole; types come back."""
    value = {"canary-key": [1, 1.5, True, None, "1", {"deep": {}}]}
    with tenant("north"):
        made = Everything.objects.create(json=value)
        assert b"canary" not in (stored_bytes(made, "json") or b"")
        assert repr(Everything.objects.get().json) == repr(value)


def test_a_migration_shows_no_secret(cmk_tsp: MemoryTsp) -> None:
    """Trap 10, complaint 23: what deconstruct() tells are names and the inner field."""
    for field in (*Patient._meta.fields, *Everything._meta.fields):
        if getattr(field, "cmk_encrypted", False):
            text, _ = MigrationWriter.serialize(field)
            assert "key" not in text.replace("primary_key", "")


def test_the_secret_key_has_no_part_in_it(cmk_tsp: MemoryTsp) -> None:
    """Trap 11, complaint 8."""
    person()
    with override_settings(SECRET_KEY="another one", SECRET_KEY_FALLBACKS=[]):
        assert Patient.objects.get().diagnosis == "flu"
        assert person(diagnosis="cold").diagnosis == "cold"
    assert {row.diagnosis for row in Patient.objects.all()} == {"flu", "cold"}


def test_ciphertext_of_another_row_does_not_open_and_a_renamed_field_does(cmk_tsp: MemoryTsp) -> None:
    """Trap 14, complaints 23 and 24."""
    one, other = person(), person()
    put(one, "diagnosis", stored_bytes(other, "diagnosis") or b"")
    with pytest.raises(InvalidCiphertext):
        Patient.objects.get(pk=one.pk).diagnosis  # noqa: B018
    with isolate_apps("tests.sample_app"):

        class Renamed(models.Model):
            id = models.UUIDField(primary_key=True)
            tenant_id = models.CharField(max_length=40)
            illness = EncryptedField(models.TextField(db_column="diagnosis"), field_id="diagnosis")
            cmk_tenant_from = "tenant_id"
            cmk_model_id = "sample_app.patient"

            class Meta:
                app_label = "elsewhere"
                db_table = "sample_app_patient"

        assert Renamed.objects.get(pk=other.pk).illness == "flu"


def test_equal_values_look_unrelated(cmk_tsp: MemoryTsp) -> None:
    """Trap 16: neither between rows nor inside a value of repeated blocks."""
    text = "A" * 4096
    one, other = person(diagnosis=text), person(diagnosis=text)
    bodies = [(stored_bytes(row, "diagnosis") or b"")[-4000:] for row in (one, other)]
    blocks = [body[at : at + 16] for body in bodies for at in range(0, 4000, 16)]
    assert len(set(blocks)) == len(blocks)
    again = stored_bytes(one, "diagnosis")
    one.save()
    assert stored_bytes(one, "diagnosis") != again


def test_unique_is_refused_where_it_could_not_be_kept() -> None:
    """Trap 19, complaint 15."""
    with isolate_apps("tests.sample_app"):

        class Once(models.Model):
            email = EncryptedField(models.EmailField(unique=True))

            class Meta:
                app_label = "sample_app"

        assert "encrypted_fields.E001" in [problem.id for problem in Once._meta.get_field("email").check()]


def test_neither_key_nor_value_is_in_the_sql(cmk_tsp: MemoryTsp) -> None:
    """Trap 25: parameters that the query log shows are ciphertext."""
    with CaptureQueriesContext(connection) as queries:
        one = person(diagnosis=CANARY)
        one.diagnosis = CANARY + "2"
        Patient.objects.bulk_update([one], ["diagnosis"])
        Patient.objects.update(diagnosis=CANARY)
        assert Patient.objects.get().diagnosis == CANARY
    shown = str([query["sql"] for query in queries]).lower()
    assert CANARY not in shown
    assert CANARY.encode().hex() not in shown


def test_a_value_says_how_it_was_made(cmk_tsp: MemoryTsp) -> None:
    """Trap 26: format and version lead each value; another version is refused, not guessed."""
    one = person()
    stored = stored_bytes(one, "diagnosis") or b""
    assert stored[:4] == b"CMK\x01"
    put(one, "diagnosis", stored[:3] + b"\x02" + stored[4:])
    with pytest.raises(InvalidCiphertext):
        Patient.objects.get().diagnosis  # noqa: B018


def test_changed_settings_are_heard_at_once() -> None:
    """Trap 29, complaint 25: no client and no key outlives the settings that it was made for."""
    found = []
    for url in ("http://127.0.0.1:7001", "http://127.0.0.1:7002"):
        with override_settings(CMK_TSP_URL=url):
            found.append(client.current())
    assert found[0] is not found[1]


def test_a_value_costs_bytes_in_the_hundreds_at_most(cmk_tsp: MemoryTsp) -> None:
    """Trap 30: ADR 0010."""
    stored = stored_bytes(person(diagnosis="x" * 32), "diagnosis") or b""
    assert len(stored) - 32 < 300
    assert len(stored) - 32 - len(envelope.parse(stored).edek) < 64


# --- what users asked for


def test_max_length_is_that_of_the_value(cmk_tsp: MemoryTsp) -> None:
    """Complaint 14: in full_clean, and the column takes any ciphertext."""
    with tenant("north"):
        fits = Note(title="t", body="ü" * 20)
        fits.full_clean(exclude=["extra"])
        fits.save()
        assert Note.objects.get().body == "ü" * 20
        with pytest.raises(ValidationError, match="at most 20 characters"):
            Note(title="u", body="ü" * 21).full_clean(exclude=["extra"])


def test_threads_of_two_tenants_do_not_meet(cmk_tsp: MemoryTsp) -> None:
    """Complaint 17: the active tenant is one of the thread and the task, never of the process."""
    field: Any = Note._meta.get_field("body")

    def work(name: str) -> set[str]:
        found = set()
        for _ in range(200):
            with tenant(name):
                found.add(field.binding.tenant_of(Note(title="t", body="b")))
        return found

    names = [f"tenant-{n}" for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, names)) == [{name} for name in names]


def test_a_page_of_rows_is_one_call(cmk_tsp: MemoryTsp) -> None:
    """Complaints 18 and 19."""
    people(25)
    with counted(cmk_tsp) as calls:
        assert len([(row.diagnosis, row.born, row.file_number) for row in Patient.objects.all()]) == 25
    assert len(calls) == 1
