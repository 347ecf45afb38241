"""Indexes filled and made anew: after one was added, in a rotation, beside other writers."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.db import connection
from django.db.models import Q

from encrypted_fields import index_keys, tenant
from encrypted_fields.search import refresh
from encrypted_fields.search.checks import check_filled
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.encrypted_fields.search.test_writing import all_right, customer
from tests.sample_app.searchable import Customer

pytestmark = pytest.mark.django_db


def empty(*names: str) -> None:
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"UPDATE sample_app_customer SET {name} = NULL")


def numbers(name: str) -> set[int]:
    stored = [stored_bytes(row, name) for row in Customer.objects.all()]
    return {int.from_bytes(one[:4], "big") for one in stored if one is not None}


def test_an_added_index_is_filled_and_only_then_complete(cmk_tsp: MemoryTsp) -> None:
    for number in range(7):
        customer(email=f"{number}@x.org", tenant_id="north" if number % 2 else "south")
    customer(email=None, phone=None)
    assert check_filled(databases=["default"]) == []
    empty("email_exact_index", "name_born", "phone_digits_index")
    assert {one.id for one in check_filled(databases=["default"])} == {"encrypted_fields.E036"}
    assert all(isinstance(one, checks.Error) for one in check_filled(databases=["default"]))
    assert check_filled() == []
    done = list(refresh.refresh_indexes(Customer, batch=5, dry_run=True))
    assert [(one.seen, one.written) for one in done] == [(5, 5), (3, 3)]
    with counted(cmk_tsp) as calls:
        done = list(refresh.refresh_indexes(Customer, batch=5))
    assert sum(one.written for one in done) == 8
    assert len(calls) <= 4  # a call for each tenant of each batch
    all_right()
    assert check_filled(databases=["default"]) == []
    with counted(cmk_tsp) as calls:
        assert [one.written for one in refresh.refresh_indexes(Customer)] == [0]
    assert calls == []


def test_it_can_be_continued_and_narrowed(cmk_tsp: MemoryTsp) -> None:
    for number in range(4):
        customer(email=f"{number}@x.org", tenant_id="north" if number % 2 else "south")
    empty("email_exact_index")
    (one,) = refresh.refresh_indexes(Customer, rows=Q(tenant_id="north"))
    assert one.written == 2
    first = next(refresh.refresh_indexes(Customer, batch=2))
    assert sum(part.seen for part in refresh.refresh_indexes(Customer, after=first.last)) == 2
    all_right()


def test_a_rotation_is_gone_through_and_committed(cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(index_keys, "_clock", lambda: now[0])
    index_keys.forget()
    for number in range(3):
        customer(email=f"{number}@x.org", number=number)
    (old,) = numbers("email_exact_index")
    cmk_tsp.begin_rotation("north")
    for now[0] in (61.0, 122.0):
        assert index_keys.live("north").settled is (now[0] > 100)
    list(refresh.refresh_indexes(Customer))
    assert old not in numbers("email_exact_index") | numbers("number_unique_index_next")
    assert numbers("number_unique_index") == {old}
    with tenant("north"):
        assert Customer.objects.get(email="1@x.org").number == 1
        cmk_tsp.commit_rotation("north")
        now[0] = 183
        assert Customer.objects.get(email="1@x.org").number == 1
        assert Customer.objects.get(number=2).email == "2@x.org"
    list(refresh.refresh_indexes(Customer))
    assert old not in numbers("number_unique_index")
    all_right()


def test_a_process_that_has_just_started_waits_until_the_new_secret_is_known_everywhere(
    cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(index_keys, "_clock", lambda: now[0])
    monkeypatch.setattr(index_keys, "_sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    index_keys.forget()
    customer(number=1)
    (old,) = numbers("email_exact_index")
    list(refresh.refresh_indexes(Customer))
    assert now == [0.0]  # no rotation, no wait
    cmk_tsp.begin_rotation("north")
    index_keys.forget()  # as a command that starts now
    assert [one.written for one in refresh.refresh_indexes(Customer)] == [1]
    assert old not in numbers("email_exact_index") | numbers("name_born")
    assert 60 <= now[0] <= 62
    monkeypatch.setattr(index_keys.Live, "settled", False)
    with pytest.raises(RuntimeError, match="run this again later"):
        index_keys.settle("north")


def test_a_writer_in_between_wins(cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    one = customer()
    empty("email_exact_index")
    write = refresh._write

    def late(row: Any, *rest: Any) -> bool:
        Customer.objects.filter(pk=one.pk).update(email="late@x.org")
        return write(row, *rest)

    monkeypatch.setattr(refresh, "_write", late)
    (done,) = refresh.refresh_indexes(Customer)
    assert (done.written, done.raced) == (0, 1)
    all_right()


def test_rows_of_a_tenant_that_withdrew_access_are_counted_and_left(cmk_tsp: MemoryTsp) -> None:
    customer()
    customer(tenant_id="south")
    empty("email_exact_index")
    cmk_tsp.revoke("north")
    index_keys.forget()
    (done,) = refresh.refresh_indexes(Customer)
    assert (done.written, done.locked) == (1, 1)
    cmk_tsp.restore("north")
    (done,) = refresh.refresh_indexes(Customer)
    assert (done.written, done.locked) == (1, 0)
    all_right()
