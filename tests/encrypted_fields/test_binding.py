"""What is sealed for one place opens in no other (T-7), and any changed bit is refused."""

from __future__ import annotations

import uuid
from itertools import permutations

import pytest
from django.db import connection, models
from django.db.transaction import atomic
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields import Locked, NoTenant, TenantConflict, tenant
from encrypted_fields.core import envelope
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.fields.binding import row_bytes
from encrypted_fields.testing import MemoryTsp, stored_bytes
from tests.sample_app.models import Clinic, Keyed, Left, Note, Patient, PatientProxy, Right, SpecialPatient, Visit

pytestmark = pytest.mark.django_db


def put(obj: models.Model, field: str, stored: bytes | None) -> None:
    """Write into the column past the ORM, as somebody with the database in hand can."""
    column, meta = obj._meta.get_field(field), obj._meta.get_field(field).model._meta
    with connection.cursor() as cursor:
        cursor.execute(
            f'UPDATE "{meta.db_table}" SET "{column.column}" = %s WHERE "{meta.pk.column}" = %s',
            [stored, meta.pk.get_db_prep_value(obj.pk, connection)],
        )


def change(fresh: Patient, stored: bytes) -> None:
    """As if the database had answered so."""
    sealed = fresh.__dict__["diagnosis"]
    sealed.part.columns["diagnosis"].stored[sealed.index] = stored


def patient(tenant_id: str = "north", **values: object) -> Patient:
    return Patient.objects.create(tenant_id=tenant_id, name="Ann", **{"diagnosis": "flu", "file_number": 1, **values})


def refuses(obj: models.Model, field: str) -> None:
    """However it is read."""
    model = type(obj)
    with pytest.raises(InvalidCiphertext):
        getattr(model._base_manager.get(pk=obj.pk), field)
    with pytest.raises(InvalidCiphertext):
        list(model._base_manager.filter(pk=obj.pk).values_list(field))
    with pytest.raises(InvalidCiphertext):
        getattr(
            model._base_manager.raw(
                f'SELECT * FROM "{model._meta.db_table}" WHERE id = %s',
                [model._meta.pk.get_db_prep_value(obj.pk, connection)],
            )[0],
            field,
        )


def test_refuses_a_value_of_another_row(cmk_tsp: MemoryTsp) -> None:
    one, other = patient(), patient()
    put(one, "diagnosis", stored_bytes(other, "diagnosis"))
    refuses(one, "diagnosis")
    assert Patient.objects.get(pk=other.pk).diagnosis == "flu"


def test_refuses_a_value_of_another_tenant(cmk_tsp: MemoryTsp) -> None:
    """EDEK and value moved together, the row's own key kept: the tenant in both layers says no."""
    one, other = patient("north"), patient("south")
    put(one, "diagnosis", stored_bytes(other, "diagnosis"))
    refuses(one, "diagnosis")


def test_refuses_a_row_moved_to_another_tenant(cmk_tsp: MemoryTsp) -> None:
    one = patient("north")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE sample_app_patient SET tenant_id = 'south'")
    refuses(one, "diagnosis")


def test_refuses_a_value_of_another_field(cmk_tsp: MemoryTsp) -> None:
    one = patient()
    for source, target in permutations(["diagnosis", "file_number"], 2):
        kept = stored_bytes(one, target)
        put(one, target, stored_bytes(one, source))
        refuses(one, target)
        put(one, target, kept)
    assert Patient.objects.get().file_number == 1


def test_refuses_a_value_of_another_model(cmk_tsp: MemoryTsp) -> None:
    """Two children of one abstract model: each is bound to its own table."""
    with tenant("north"):
        left, right = Left.objects.create(value="l"), Right.objects.create(value="r")
        put(left, "value", stored_bytes(right, "value"))
        refuses(left, "value")
        assert Right.objects.get().value == "r"


def test_refuses_the_key_of_another_value(cmk_tsp: MemoryTsp) -> None:
    one, other = patient(), patient()
    first, second = (envelope.parse(stored_bytes(each, "diagnosis") or b"") for each in (one, other))
    put(one, "diagnosis", first.with_edek(second.edek))
    refuses(one, "diagnosis")


def test_refuses_every_flipped_bit_with_one_error(cmk_tsp: MemoryTsp) -> None:
    one = patient()
    stored = stored_bytes(one, "diagnosis")
    assert stored is not None
    field = Patient._meta.get_field("diagnosis")
    locked = 0
    for at in range(len(stored) * 8):
        changed = bytearray(stored)
        changed[at // 8] ^= 1 << at % 8
        fresh = Patient.objects.get()
        change(fresh, bytes(changed))
        try:
            found = fresh.__dict__["diagnosis"].open(field, fresh)
        except InvalidCiphertext:
            continue
        # the number of the key configuration was hit: to the proxy, one that the tenant does not have
        assert isinstance(found, Locked)
        assert found.reason == "KmsConfigDisabled"
        locked += 1
    assert locked <= 7


@pytest.mark.parametrize("stored", [b"", b"plain text", b"CMK", b"CMK\x01\x01", b"CMK\x02\x01\x00\x01e" + bytes(40)])
def test_refuses_bytes_that_are_no_envelope(cmk_tsp: MemoryTsp, stored: bytes) -> None:
    one = patient()
    put(one, "diagnosis", stored)
    refuses(one, "diagnosis")


def test_a_cut_value_is_refused_at_every_length(cmk_tsp: MemoryTsp) -> None:
    stored = stored_bytes(patient(), "diagnosis") or b""
    field = Patient._meta.get_field("diagnosis")
    for size in range(len(stored)):
        fresh = Patient.objects.get()
        change(fresh, stored[:size])
        with pytest.raises(InvalidCiphertext):
            fresh.__dict__["diagnosis"].open(field, fresh)


def test_a_value_sealed_without_its_row_is_refused_where_rows_are_bound(cmk_tsp: MemoryTsp) -> None:
    one = patient()
    wrapped = cmk_tsp.wrap(_about("north"))
    free = ValueContext("north", "sample_app.patient", "diagnosis")
    put(one, "diagnosis", envelope.seal(b"sflu", ValueKey(wrapped.dek), wrapped.edek, free))
    refuses(one, "diagnosis")


def _about(name: str):  # type: ignore[no-untyped-def]
    from encrypted_fields.core.protocol import Metadata

    return Metadata(name, "tests")


names = st.text(min_size=1, max_size=40)


@given(
    tenant_name=names,
    row=st.none() | st.binary(max_size=60),
    plaintext=st.binary(max_size=200),
    edek=st.binary(min_size=1, max_size=300),
)
def test_the_prepared_bytes_are_those_of_the_format(
    tenant_name: str, row: bytes | None, plaintext: bytes, edek: bytes
) -> None:
    """The fast path of the fields and core.envelope open each other's values."""
    binding, key = Note._meta.get_field("body").binding, ValueKey(bytes(32))
    context = ValueContext(tenant_name, "sample_app.note", "body", row)
    stored = binding.seal(plaintext, key, edek, tenant_name, row)
    assert envelope.parse(stored).edek == edek
    assert envelope.parse(stored).open(key, context) == plaintext
    part = None if row is None else len(row).to_bytes(4, "big") + row
    assert binding.open(envelope.seal(plaintext, key, edek, context), key, tenant_name, part) == plaintext


def test_rows_differ_by_type_and_value() -> None:
    char, number, uid = models.CharField(), models.IntegerField(), models.UUIDField()
    value = uuid.uuid4()
    found = [
        row_bytes(char, "1"),
        row_bytes(number, 1),
        row_bytes(number, 11),
        row_bytes(uid, value),
        row_bytes(char, str(value)),
    ]
    assert len(set(found)) == 5
    assert row_bytes(uid, str(value)) == row_bytes(uid, value) == row_bytes(uid, value.hex)
    with pytest.raises(ValueError, match="no primary key yet"):
        row_bytes(number, None)


def test_binds_the_row_when_its_key_is_made_in_python(cmk_tsp: MemoryTsp) -> None:
    assert envelope.parse(stored_bytes(patient(), "diagnosis") or b"").row_bound
    with tenant("north"):
        note = Note.objects.create(title="t")
        keyed = Keyed.objects.create(code="k", value="v")
    assert not envelope.parse(stored_bytes(note, "body") or b"").row_bound
    assert envelope.parse(stored_bytes(keyed, "value") or b"").row_bound


# --- tenants


def test_the_row_names_the_tenant(cmk_tsp: MemoryTsp) -> None:
    patient("south")
    assert [call.about.tenant for call in cmk_tsp.calls] == ["south"]


def test_a_path_names_the_tenant(cmk_tsp: MemoryTsp) -> None:
    visit = Visit.objects.create(clinic=Clinic.objects.create(slug="west"), report="fine")
    assert [call.about.tenant for call in cmk_tsp.calls] == ["west"]
    assert Visit.objects.get(pk=visit.pk).report == "fine"
    assert Visit.objects.values_list("report", flat=True).get() == "fine"


def test_the_row_is_never_contradicted(cmk_tsp: MemoryTsp) -> None:
    one = patient("north")
    with tenant("south"):
        for read in (
            lambda: Patient.objects.get().diagnosis,
            lambda: list(Patient.objects.values("diagnosis")),
            lambda: patient("north"),
            lambda: Patient.objects.update(diagnosis="x"),
            lambda: Patient.objects.bulk_create([Patient(tenant_id="north", diagnosis="x")]),
        ):
            with pytest.raises(TenantConflict), atomic():
                read()
    assert Patient.objects.get() == one
    assert Patient.objects.get().diagnosis == "flu"


def test_no_tenant_at_all_is_a_clear_error_and_nothing_is_lost(cmk_tsp: MemoryTsp) -> None:
    with pytest.raises(NoTenant, match="tenant_from="), atomic():
        Note.objects.create(title="t", body="b")
    with pytest.raises(NoTenant, match="empty"), atomic():
        patient("")
    assert Note.objects.count() == Patient.objects.count() == 0
    with tenant("north"):
        Note.objects.create(title="t", body="b")
    with pytest.raises(NoTenant):
        Note.objects.get().body  # noqa: B018
    with tenant("north"):
        assert Note.objects.get().body == "b"


def test_an_unopened_value_remembers_the_tenant_that_was_active_when_it_was_read(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        Note.objects.create(title="t", body="b")
        note = Note.objects.get()
    assert note.body == "b"


@pytest.mark.parametrize("name", [None, "", True])
def test_refuses_an_empty_tenant(name: object) -> None:
    with pytest.raises(NoTenant), tenant(name):
        pass


def test_inheritance_binds_to_the_table_that_holds_the_column(cmk_tsp: MemoryTsp) -> None:
    made = SpecialPatient.objects.create(tenant_id="north", diagnosis="flu", plan="rest")
    assert SpecialPatient.objects.get().plan == "rest"
    assert SpecialPatient.objects.get().diagnosis == "flu"
    assert Patient.objects.get(pk=made.pk).diagnosis == "flu"
    assert PatientProxy.objects.get(pk=made.pk).diagnosis == "flu"
    assert list(SpecialPatient.objects.values_list("plan", "diagnosis")) == [("rest", "flu")]
    SpecialPatient.objects.update(diagnosis="cold", plan="run")
    found = SpecialPatient.objects.get()
    assert (found.diagnosis, found.plan) == ("cold", "run")
    PatientProxy.objects.filter(pk=made.pk).update(diagnosis="well")
    assert Patient.objects.get().diagnosis == "well"
