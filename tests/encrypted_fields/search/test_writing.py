"""The index is right after every way of writing, because the same statement wrote it. Field trap 17."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import FieldError
from django.db import connection, models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext

from encrypted_fields import tenant
from encrypted_fields.search import IndexColumn
from encrypted_fields.testing import MemoryTsp, stored_bytes
from tests.sample_app.searchable import Customer, Order, PostIt

pytestmark = pytest.mark.django_db
BORN = datetime.date(1990, 5, 17)


def indexes(model: type[models.Model]) -> list[IndexColumn]:
    return [one for one in model._meta.local_fields if isinstance(one, IndexColumn)]


def all_right(model: type[models.Model] = Customer) -> None:
    """Each index column holds what a fresh look at the row gives."""
    from encrypted_fields import index_keys

    rows = list(model._base_manager.all())
    assert rows
    for row in rows:
        for column in indexes(model):
            values = [getattr(row, name) for name in column.sources]
            encoded = column.encode(values)
            whose = column.binding.tenant_of(row)
            secret = column.secret(index_keys.live(whose))
            expected = None if encoded is None else column.stored(whose, secret, encoded)
            assert stored_bytes(row, column.name) == expected, f"{column.name} of {values}"


def customer(**values: Any) -> Customer:
    given = {"tenant_id": "north", "email": "Ann@x.org", "phone": "+49 151 2345", "name": "Smith", "born": BORN}
    return Customer.objects.create(**{**given, "city": "Kiel", **values})


def saved(one: Customer) -> None:
    one.email, one.born, one.login = "new@x.org", None, "ann"
    one.save()


def partly(one: Customer) -> None:
    one.email, one.name = "part@x.org", "Jones"
    one.save(update_fields=["email", "name"])


def deferred(one: Customer) -> None:
    part = Customer.objects.only("email", "tenant_id").get(pk=one.pk)
    part.email = "deferred@x.org"
    part.save()


def unopened(one: Customer) -> None:
    Customer.objects.get(pk=one.pk).save()


def emptied(one: Customer) -> None:
    one.email = one.name = None
    one.save(update_fields=["email", "name"])


def updated(one: Customer) -> None:
    Customer.objects.filter(pk=one.pk).update(email="updated@x.org", number=5)


def nulled(one: Customer) -> None:
    Customer.objects.update(email=None, born=None)


def one_part_updated(one: Customer) -> None:
    Customer.objects.update(name="Miller")


def bulk_updated(one: Customer) -> None:
    rows = list(Customer.objects.order_by("pk"))
    for number, row in enumerate(rows):
        row.email, row.number, row.name = f"bulk{number}@x.org", number + 10, f"Name{number}"
    Customer.objects.bulk_update(rows, ["email", "number", "name"])


def bulk_updated_to_null(one: Customer) -> None:
    rows = list(Customer.objects.all())
    for row in rows:
        row.email = row.name = None
    Customer.objects.bulk_update(rows, ["email", "name"])


def case_updated(one: Customer) -> None:
    Customer.objects.update(
        email=Case(
            When(tenant_id="north", then=Value("case@x.org")),
            When(Q(tenant_id="south") & Q(email__isnull=True), then=Coalesce(F("email"), Value("was null"))),
            default=F("email"),
        ),
        city=Coalesce(F("city"), Value("none")),
        phone=Coalesce(Value(None), Case(When(tenant_id="north", then=F("phone")), default=None), Value("12345")),
    )


def moved(one: Customer) -> None:
    Customer.objects.filter(pk=one.pk).update(
        tenant_id="west", email="a", phone="b", name="c", born=None, city="d", login="e", number=1
    )


def moved_by_saving(one: Customer) -> None:
    row = Customer.objects.get(pk=one.pk)
    row.tenant_id = "west"
    row.save()


def created_or_got(one: Customer) -> None:
    with tenant("north"):
        assert Customer.objects.get_or_create(email="Ann@x.org", defaults={"tenant_id": "north"})[1] is False
        assert Customer.objects.get_or_create(email="fresh@x.org", defaults={"tenant_id": "north"})[1] is True
        assert Customer.objects.get_or_create(email="fresh@x.org", defaults={"tenant_id": "north"})[1] is False


def updated_or_created(one: Customer) -> None:
    with tenant("north"):
        found = {"defaults": {"tenant_id": "north", "email": "uoc@x.org"}}
        assert Customer.objects.update_or_create(number=77, **found)[1] is True
        assert Customer.objects.update_or_create(number=77, **{"defaults": {"email": "2@x.org"}})[1] is False


def upserted(one: Customer) -> None:
    again = Customer(pk=one.pk, tenant_id="north", email="upsert@x.org", name="Up", born=BORN, number=8)
    fields = ["email", "name", "born", "tenant_id", "phone", "city", "login", "number"]
    Customer.objects.bulk_create([again], update_conflicts=True, unique_fields=["id"], update_fields=fields)
    assert Customer.objects.get(pk=one.pk).email == "upsert@x.org"


def copied(one: Customer) -> None:
    copy = Customer.objects.get(pk=one.pk)
    copy.pk, copy._state.adding, copy.login, copy.number = None, True, None, None
    copy.pk = Customer._meta.pk.get_default()
    copy.save()


def loaded(one: Customer) -> None:
    text = serializers.serialize("json", Customer.objects.filter(pk=one.pk))
    assert "_index" not in text
    Customer.objects.filter(pk=one.pk).update(email="other")
    for found in serializers.deserialize("json", text):
        found.save()
    assert Customer.objects.get(pk=one.pk).email == "Ann@x.org"
    Customer.objects.filter(pk=one.pk).delete()
    for found in serializers.deserialize("json", text):
        found.save()


@pytest.mark.parametrize(
    "write",
    [
        saved, partly, deferred, unopened, emptied, updated, nulled, one_part_updated, bulk_updated,
        bulk_updated_to_null, case_updated, moved, moved_by_saving, created_or_got, updated_or_created, upserted,
        copied, loaded,
    ],
)  # fmt: skip
def test_every_way_of_writing_keeps_the_index_right(cmk_tsp: MemoryTsp, write: Callable[[Customer], None]) -> None:
    one = customer()
    Customer.objects.bulk_create(
        [Customer(tenant_id="south", email="s@x.org", phone="", name="", number=0), Customer(tenant_id="south")]
    )
    all_right()
    write(one)
    all_right()


def test_the_index_costs_no_statement_of_its_own(cmk_tsp: MemoryTsp) -> None:
    one = customer()
    with CaptureQueriesContext(connection) as queries:
        one.email = "new@x.org"
        one.save(update_fields=["email"])
    assert len(queries) == 1
    assert "email_exact_index" in queries[0]["sql"]
    assert "email_folded_index" in queries[0]["sql"]
    assert "born_exact_index" not in queries[0]["sql"]


def test_a_database_made_key_and_a_tenant_by_a_path_are_indexed(cmk_tsp: MemoryTsp) -> None:
    one = customer()
    Order.objects.create(customer=one, place="here")
    Order.objects.bulk_create([Order(customer=one, place="there"), Order(customer=one)])
    Order.objects.filter(place__isnull=True).update(place="now")
    all_right(Order)


def test_an_inherited_index_is_the_childs(cmk_tsp: MemoryTsp) -> None:
    assert [one.name for one in indexes(PostIt)] == ["topic_body", "topic_exact_index"]
    assert indexes(PostIt)[1].places == (("sample_app.postit", "topic"),)
    with tenant("north"):
        PostIt.objects.create(topic="t")
        PostIt.objects.update(topic="u")
        all_right(PostIt)


def test_an_index_is_never_written_by_hand(cmk_tsp: MemoryTsp) -> None:
    one = customer()
    with pytest.raises(FieldError, match="it is written with email"), atomic():
        Customer.objects.update(email_exact_index=b"x")
    with pytest.raises(FieldError, match="it is written with email"), atomic():
        Customer.objects.update(email_exact_index=None)
    one.email_exact_index = b"x"
    one.save()
    one.save(update_fields=["email_exact_index"])
    all_right()


def test_an_index_over_several_fields_refuses_what_only_the_database_knows(cmk_tsp: MemoryTsp) -> None:
    customer()
    with pytest.raises(FieldError, match="part of an index over several fields"), atomic():
        Customer.objects.update(name=Case(When(tenant_id="north", then=Value("x")), default=Value("y")))
    all_right()
    with tenant("north"):
        note = PostIt.objects.create(topic="t", body="b")
        again = PostIt(pk=note.pk, topic="t2", body="b2")
        with pytest.raises(ValueError, match="add body to update_fields"), atomic():
            PostIt.objects.bulk_create([again], update_conflicts=True, unique_fields=["id"], update_fields=["topic"])
        PostIt.objects.bulk_create(
            [again], update_conflicts=True, unique_fields=["id"], update_fields=["topic", "body"]
        )
        assert PostIt.objects.get(topic_body=("t2", "b2")).topic == "t2"
        all_right(PostIt)


def test_a_locked_row_keeps_its_index(cmk_tsp: MemoryTsp) -> None:
    one = customer()
    before = stored_bytes(one, "email_exact_index"), stored_bytes(one, "name_born")
    cmk_tsp.revoke("north")
    row = Customer.objects.get()
    assert not row.email
    row.save()
    part = Customer.objects.defer("email_exact_index", "name_born").get()
    assert not part.email
    part.save()
    assert (stored_bytes(one, "email_exact_index"), stored_bytes(one, "name_born")) == before
    cmk_tsp.restore("north")
    all_right()
