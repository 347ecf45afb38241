"""Sealed values on their way from a row into an instance: set at once where only Django sees them, else one by one."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import DEFERRED
from django.db.models.signals import pre_init

from encrypted_fields.fields.sealed import Sealed, made_by_django
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.people import BORN, person
from tests.sample_app.models import Patient, PatientProxy

pytestmark = pytest.mark.django_db
NAMES = ["diagnosis", "born", "file_number"]


@pytest.fixture(autouse=True)
def _rows(cmk_tsp: MemoryTsp) -> None:
    for number in range(40):  # more than those that know their instances
        person(name=f"n{number:02}", file_number=number, diagnosis=None if number == 7 else f"d{number}")


def _read(model: Any) -> None:
    for number, row in enumerate(model.objects.order_by("name")):
        assert row.get_deferred_fields() == set()
        assert [name for name in NAMES if type(row.__dict__[name]) is Sealed] == NAMES[number == 7 :]
        diagnosis = None if number == 7 else f"d{number}"
        assert (row.diagnosis, row.born, row.file_number) == (diagnosis, BORN, number)


def test_a_row_brings_all_its_values() -> None:
    assert made_by_django(Patient)
    _read(Patient)
    row = Patient.objects.only("born", "file_number").order_by("name").first()
    assert row is not None
    assert row.get_deferred_fields() == {"tenant_id", "name", "diagnosis"}
    assert (row.file_number, row.born, row.diagnosis) == (0, BORN, "d0")


def test_a_sealed_value_that_is_set_later_changes_no_other() -> None:
    first, second = Patient.objects.order_by("name")[:2]
    first.file_number = 99
    first.born = second.__dict__["born"]
    assert (first.file_number, first.diagnosis) == (99, "d0")


def test_who_makes_the_instance_sees_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Django's documentation of from_db(): values that are not there are told from values by DEFERRED."""

    def from_db(cls: Any, db: str, names: Any, values: Any) -> Any:
        assert [type(value) for value in values[-2:]] == [Sealed, Sealed]
        made = super(PatientProxy, cls).from_db(db, names, values)
        made.loaded = dict(zip(names, (value for value in values if value is not DEFERRED), strict=True))
        return made

    monkeypatch.setattr(PatientProxy, "from_db", classmethod(from_db), raising=False)
    _read(PatientProxy)
    assert PatientProxy.objects.order_by("name")[3].loaded["name"] == "n03"


def test_who_listens_sees_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def listen(sender: Any, args: Any, **_: Any) -> None:
        seen.extend(args)

    def init(self: Any, *args: Any) -> None:
        seen.extend(args)
        super(PatientProxy, self).__init__(*args)

    def set_one(self: Any, name: str, value: Any) -> None:
        seen.append(value)
        super(PatientProxy, self).__setattr__(name, value)

    pre_init.connect(listen, sender=PatientProxy)
    try:
        _read(PatientProxy)
    finally:
        pre_init.disconnect(listen, sender=PatientProxy)
    for name, replaced in (("__init__", init), ("__setattr__", set_one)):
        with monkeypatch.context() as patch:
            patch.setattr(PatientProxy, name, replaced, raising=False)
            _read(PatientProxy)
    assert DEFERRED not in seen
    assert sum(type(one) is Sealed for one in seen) == 3 * (3 * 40 - 1)
