"""Values bound to keys that the database makes, beside values that are not; inheritance and fixtures."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command

from encrypted_fields import tenant
from encrypted_fields.core import envelope
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.encrypted_fields.people import edek
from tests.sample_app.models import Nested, Numbered

pytestmark = pytest.mark.django_db


def bound(row: Any, field: str) -> bool:
    return envelope.parse(stored_bytes(row, field) or b"").row_bound


def test_bound_and_free_values_of_a_row_share_its_key(cmk_tsp: MemoryTsp) -> None:
    with counted(cmk_tsp) as calls:
        one = Numbered.objects.create(body="b", extra={"k": 1})
    assert [call.route for call in calls if call.route != "derive"] == ["wrap"]
    assert edek(one, "body") == edek(one, "extra")
    assert (bound(one, "body"), bound(one, "extra")) == (True, False)
    found = Numbered.objects.get()
    assert (found.body, found.extra) == ("b", {"k": 1})


def test_many_rows_of_two_tenants(cmk_tsp: MemoryTsp) -> None:
    rows = [Numbered(tenant_id=name, body=f"{name}{n}", extra=n) for n in range(3) for name in ("north", "south")]
    with counted(cmk_tsp) as calls:
        Numbered.objects.bulk_create(rows)
    wraps = sorted((call.about.tenant, call.count) for call in calls if call.route == "batch_wrap")
    assert wraps == [("north", 3), ("south", 3)]
    assert [(row.body, row.extra) for row in Numbered.objects.order_by("id")] == [
        (f"{name}{n}", n) for n in range(3) for name in ("north", "south")
    ]


def test_an_index_is_written_with_the_row(cmk_tsp: MemoryTsp) -> None:
    Numbered.objects.create(body="b")
    Numbered.objects.bulk_create([Numbered(body="c"), Numbered(body="d")])
    with tenant("north"):
        assert [Numbered.objects.get(body=text).body for text in "bcd"] == ["b", "c", "d"]
        assert not Numbered.objects.filter(body="").exists()


def test_a_copy_is_bound_to_its_own_key(cmk_tsp: MemoryTsp) -> None:
    Numbered.objects.create(body="b")
    copy = Numbered.objects.get()
    copy.pk, copy._state.adding = None, True
    copy.save()
    assert [row.body for row in Numbered.objects.all()] == ["b", "b"]


def test_a_child_is_bound_to_the_key_of_its_parent(cmk_tsp: MemoryTsp) -> None:
    made = Nested.objects.create(body="b", deep="d")
    found = Nested.objects.get()
    assert (found.body, found.deep) == ("b", "d")
    assert bound(made, "body")
    assert bound(made, "deep")
    found.body, found.deep = "c", "e"
    found.save()
    assert Numbered.objects.get().body == "c"
    assert Nested.objects.get().deep == "e"


def test_a_fixture_without_keys_is_bound(cmk_tsp: MemoryTsp, tmp_path: Any) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"model": "sample_app.numbered", "fields": {"tenant_id": "north", "body": "b", "extra": [1]}}]')
    call_command("loaddata", str(path), verbosity=0)
    found = Numbered.objects.get()
    assert (found.body, found.extra) == ("b", [1])
    assert bound(found, "body")
