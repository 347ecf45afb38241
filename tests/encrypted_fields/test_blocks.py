"""Rows that were read together: what a look opens, what stays shut, and when keys and bytes are gone (T-7, R-34)."""

from __future__ import annotations

import gc
import weakref

import pytest

from encrypted_fields import tenant
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.errors import InvalidCiphertext, TspUnreachable
from encrypted_fields.fields.parts import TAKEN
from encrypted_fields.fields.uniform import AHEAD
from encrypted_fields.tenancy import TenantConflict
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import BORN, people, person
from tests.sample_app.models import Note, Patient

pytestmark = pytest.mark.django_db


def test_one_look_leaves_no_key(cmk_tsp: MemoryTsp) -> None:
    people(3)
    rows = list(Patient.objects.order_by("name"))
    assert rows[1].diagnosis == "d1"
    columns = rows[0].__dict__["diagnosis"].part.columns
    assert [column.keys for column in columns.values()] == [[None] * 3] * 3
    assert columns["diagnosis"].opened == ["d0", TAKEN, "d2"]
    with counted(cmk_tsp) as calls:
        assert [(row.diagnosis, row.born) for row in rows] == [(f"d{n}", BORN) for n in range(3)]
    assert calls == []
    assert columns["diagnosis"].opened == [TAKEN] * 3


def test_a_damaged_value_is_told_to_whoever_looks_at_it_and_to_nobody_else(cmk_tsp: MemoryTsp) -> None:
    people(3)
    rows = list(Patient.objects.order_by("name"))
    column = rows[1].__dict__["diagnosis"].part.columns["diagnosis"]
    good = column.stored[1]
    for damaged in (
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-20],
        b"",
        b"CMK\x01\x01\xff\xff",
        good[:4] + b"\x00" + good[5:],
    ):
        column.stored[1], column.keys[1], column.opened[1] = damaged, None, None
        assert (rows[0].diagnosis, rows[1].born, rows[2].file_number) == ("d0", BORN, 2)
        for _ in range(2):
            with pytest.raises(InvalidCiphertext):
                rows[1].diagnosis  # noqa: B018


def test_a_long_value_is_opened_by_itself(cmk_tsp: MemoryTsp) -> None:
    long = "x" * AHEAD
    for name in ("a", "b"):
        person(name=name, diagnosis=long)
    first, second = Patient.objects.order_by("name")
    assert first.born == BORN
    column = second.__dict__["diagnosis"].part.columns["diagnosis"]
    assert column.opened == [None, None]
    assert all(isinstance(key, ValueKey) for key in column.keys)
    with counted(cmk_tsp) as calls:
        assert (first.diagnosis, second.diagnosis) == (long, long)
    assert calls == []
    assert column.keys == [None, None]


def test_what_was_opened_ahead_is_still_refused_to_another_tenant(cmk_tsp: MemoryTsp) -> None:
    people(2)
    first, second = Patient.objects.order_by("name")
    assert first.diagnosis == "d0"
    with tenant("south"), pytest.raises(TenantConflict):
        second.diagnosis  # noqa: B018
    assert second.diagnosis == "d1"
    with tenant("north"):
        Note.objects.create(title="a", body="1")
        Note.objects.create(title="b", body="2")
        first_note, second_note = Note.objects.order_by("title")
        assert first_note.body == "1"
    with tenant("south"), pytest.raises(TenantConflict):
        second_note.body  # noqa: B018


def test_rows_of_no_known_tenant_are_opened_for_whoever_looks(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        Note.objects.create(title="a", body="1")
        Note.objects.create(title="b", body="2")
    first, second = Note.objects.order_by("title")
    with tenant("north"):
        assert first.body == "1"
    with tenant("south"), pytest.raises(InvalidCiphertext):
        second.body  # noqa: B018


def test_after_an_outage_only_what_is_missing_is_asked_for(cmk_tsp: MemoryTsp) -> None:
    people(3)
    rows = list(Patient.objects.order_by("name"))
    cmk_tsp.failing = TspUnreachable()
    with pytest.raises(TspUnreachable):
        rows[0].diagnosis  # noqa: B018
    cmk_tsp.failing = None
    with counted(cmk_tsp) as calls:
        assert [row.diagnosis for row in rows] == ["d0", "d1", "d2"]
    assert [call.count for call in calls] == [3]


def test_the_same_stored_value_opens_twice_for_two_calls(cmk_tsp: MemoryTsp) -> None:
    """A copy of an instance that nobody had looked at: the value was taken, so its key is asked for again, alone."""
    people(3)
    rows = list(Patient.objects.order_by("name"))
    sealed = rows[0].__dict__["diagnosis"]
    field = Patient._meta.get_field("diagnosis")
    assert sealed.open(field, rows[0]) == "d0"
    with counted(cmk_tsp) as calls:
        assert sealed.open(field, rows[0]) == "d0"
    assert [(call.route, call.count) for call in calls] == [("unwrap", 1)]


def test_blocks_go_with_their_rows(cmk_tsp: MemoryTsp) -> None:
    """Keys and ciphertext do not wait for the cycle collector."""
    people(3)
    gc.disable()
    try:
        rows = list(Patient.objects.all())
        seen = weakref.ref(rows[0].__dict__["diagnosis"].part)
        assert rows[0].born == BORN
        assert seen() is not None
        del rows
        assert seen() is None
    finally:
        gc.enable()
