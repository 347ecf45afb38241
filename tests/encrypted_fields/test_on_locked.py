"""What a look finds after the customer withdrew access, place by place; and nothing is overwritten."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import connection, models
from django.forms import modelform_factory, modelformset_factory
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from rest_framework import serializers

from encrypted_fields import EncryptedField, Locked, tenant
from encrypted_fields.access import withdrawn
from encrypted_fields.core.errors import KmsRefused, TspUnreachable
from encrypted_fields.omitting import omit_locked
from encrypted_fields.rest_framework import LockedValues
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.encrypted_fields.people import people, person
from tests.sample_app.models import Chart, Clinic, Patient, Visit

pytestmark = pytest.mark.django_db
SENTENCE = "access withdrawn by the customer"
NAMES = ("name", "phone", "diagnosis", "weight", "born")


@pytest.fixture
def locked(cmk_tsp: MemoryTsp) -> Chart:
    made = Chart.objects.create(
        tenant_id="north", name="Ann", phone="1", diagnosis="flu", weight=70, born=datetime.date(1990, 5, 17)
    )
    cmk_tsp.revoke("north")
    return Chart.objects.get(pk=made.pk)


def test_attributes(locked: Chart) -> None:
    value: Any = locked.name
    assert (isinstance(value, Locked), value.omitted, bool(value), str(value)) == (True, False, False, SENTENCE)
    value = locked.phone
    assert (isinstance(value, Locked), value.omitted) == (True, True)
    for _ in range(2):
        with pytest.raises(KmsRefused):
            locked.diagnosis  # noqa: B018


def test_values(locked: Chart) -> None:
    """Left out of dicts; in a list, which has places and not names, it is Locked."""
    (row,) = Chart.objects.values("tenant_id", "name", "phone", "weight")
    assert {name: str(value) for name, value in row.items()} == {"tenant_id": "north", "name": SENTENCE}
    assert list(Chart.objects.filter(tenant_id="north").values("phone").order_by("id")) == [{}]
    assert list(omit_locked([{"a": locked.phone, "b": locked.name, "c": 1}])) == [{"b": locked.name, "c": 1}]
    assert isinstance(Chart.objects.values_list("phone", flat=True)[0], Locked)
    with pytest.raises(KmsRefused):
        list(Chart.objects.values("diagnosis"))
    assert Chart.objects.filter(diagnosis=None).count() == 0


def test_saving_a_row_keeps_each(locked: Chart, cmk_tsp: MemoryTsp) -> None:
    """Also a value whose look would raise: saving does not look."""
    before = {name: stored_bytes(locked, name) for name in NAMES}
    assert not locked.phone
    locked.save()
    locked.save(update_fields=["diagnosis", "phone"])
    Chart.objects.bulk_update([locked], ["name", "weight"])
    with pytest.raises(KmsRefused):  # it reads the attributes
        Chart.objects.bulk_update([locked], ["diagnosis"])
    assert {name: stored_bytes(locked, name) for name in NAMES} == before
    cmk_tsp.restore("north")
    assert Chart.objects.get().diagnosis == "flu"


def test_forms(locked: Chart, cmk_tsp: MemoryTsp) -> None:
    """A disabled field with the sentence, or none at all; whatever is posted under its name is ignored."""
    form_class: Any = modelform_factory(Chart, fields=["tenant_id", "name", "phone", "weight", "born"])
    page = form_class(instance=locked).as_p()
    assert page.count("<input") == 3
    assert f'value="{SENTENCE}"' in page
    assert page.count("disabled") == 2
    assert "Saving keeps the stored value." in page
    assert "phone" not in page.lower()
    assert "weight" not in page.lower()
    before = {name: stored_bytes(locked, name) for name in NAMES}
    for data in (
        {"tenant_id": "north"},
        {"tenant_id": "north", "name": SENTENCE, "born": SENTENCE, "phone": "9", "weight": "x"},
        {"tenant_id": "north", "name": "Bea", "born": "2001-01-01"},
    ):
        form = form_class(data, instance=Chart.objects.get())
        assert form.is_valid(), form.errors
        assert form.changed_data == []
        form.save()
    assert {name: stored_bytes(locked, name) for name in NAMES} == before
    with pytest.raises(KmsRefused):
        modelform_factory(Chart, fields=["diagnosis"])(instance=Chart.objects.get())
    cmk_tsp.restore("north")
    assert 'value="Ann"' in form_class(instance=Chart.objects.get()).as_p()


def test_formsets_and_rows_of_another_tenant(locked: Chart, cmk_tsp: MemoryTsp) -> None:
    Chart.objects.create(tenant_id="south", name="Sue", weight=1)
    formset: Any = modelformset_factory(Chart, fields=["name", "phone"], extra=0)(
        queryset=Chart.objects.order_by("tenant_id")
    )
    first, second = formset.forms
    assert (first["name"].field.disabled, second["name"].field.disabled) == (True, False)
    assert first["phone"].is_hidden
    assert not second["phone"].is_hidden
    assert str(first["phone"]) == ""


class ChartSerializer(LockedValues, serializers.ModelSerializer):  # type: ignore[type-arg]
    born = serializers.DateField(required=True)

    class Meta:
        model = Chart
        fields = ("id", "tenant_id", "name", "phone", "weight", "born")


def test_serializers_read(locked: Chart, cmk_tsp: MemoryTsp) -> None:
    south = Chart.objects.create(tenant_id="south", name="Sue", phone="2", weight=3, born=datetime.date(2000, 1, 1))
    rows: Any = ChartSerializer(Chart.objects.order_by("tenant_id"), many=True).data
    assert rows[0] == {
        "id": str(locked.pk),
        "tenant_id": "north",
        "name": None,
        "born": None,
        "_locked": ["name", "phone", "weight", "born"],
    }
    assert rows[1] == {
        "id": str(south.pk), "tenant_id": "south", "name": "Sue", "phone": "2", "weight": 3, "born": "2000-01-01",
    }  # fmt: skip


@pytest.mark.parametrize("partial", [True, False])
def test_serializers_never_overwrite(locked: Chart, cmk_tsp: MemoryTsp, partial: bool) -> None:
    before = {name: stored_bytes(locked, name) for name in NAMES}
    back = ChartSerializer(Chart.objects.get()).data
    for data in (back, {"tenant_id": "north"}, {"tenant_id": "north", "name": None, "weight": None}):
        serializer = ChartSerializer(Chart.objects.get(), data=data, partial=partial)
        assert serializer.is_valid(), serializer.errors
        serializer.save()
    assert {name: stored_bytes(locked, name) for name in NAMES} == before
    serializer = ChartSerializer(Chart.objects.get(), data={**back, "name": "Bea", "weight": 0}, partial=partial)
    assert not serializer.is_valid()
    assert set(serializer.errors) == {"name", "weight"}
    assert "withdrawn" in str(serializer.errors["name"])
    cmk_tsp.restore("north")
    serializer = ChartSerializer(Chart.objects.get(), data={"name": "Bea"}, partial=True)
    assert serializer.is_valid(), serializer.errors
    serializer.save()
    assert Chart.objects.get().name == "Bea"


def test_templates(locked: Chart) -> None:
    page = Template("{{ row.name }}|{{ row.phone|default:'not available' }}|{% if row.weight %}x{% endif %}")
    assert page.render(Context({"row": locked})) == f"{SENTENCE}|not available|"


def test_which_rows_are_withdrawn_costs_one_key_a_tenant(cmk_tsp: MemoryTsp) -> None:
    people(3, "north")
    people(3, "south")
    empty = person(diagnosis=None, born=None, file_number=None)
    cmk_tsp.revoke("south")
    rows = list(Patient.objects.all())
    with counted(cmk_tsp) as calls:
        found = withdrawn(rows)
    assert {row.tenant_id for row in found} == {"south"}
    assert len(found) == 3
    assert empty not in found
    assert sorted((call.route, call.about.tenant) for call in calls) == [("unwrap", "north"), ("unwrap", "south")]
    cmk_tsp.failing = TspUnreachable()
    assert withdrawn(rows) == set()


def test_tenants_by_path_are_found_together(cmk_tsp: MemoryTsp) -> None:
    for name in ("north", "south"):
        clinic = Clinic.objects.create(slug=name)
        for _ in range(3):
            Visit.objects.create(clinic=clinic, report="r")
    cmk_tsp.revoke("south")
    rows = list(Visit.objects.all())
    with CaptureQueriesContext(connection) as queries:
        assert len(withdrawn(rows)) == 3
    assert len(queries) == 1
    with tenant("north"):  # rows of others are not asked about
        assert withdrawn(Visit.objects.all()) == set()


def test_checks_warn_of_values_and_of_str(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(models.Model):
        text = EncryptedField(models.TextField(), on_locked="omit")
        other = EncryptedField(models.TextField())

        class Meta:
            app_label = "sample_app_checks"

        def __str__(self) -> str:
            return f"{self.pk} {self.other}"

    assert [one.id for one in Bare._meta.get_field("text").check()] == ["encrypted_fields.W060"]
    assert [one.id for one in Bare._meta.get_field("other").check()] == ["encrypted_fields.W061"]
    assert [one.id for name in NAMES for one in Chart._meta.get_field(name).check()] == []
