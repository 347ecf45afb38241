"""The same on PostgreSQL and MariaDB: real servers, and the schema that the migrations' machinery makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections
from django.db.models import Q
from django.db.transaction import atomic

from encrypted_fields import tenant
from encrypted_fields.search import filtered_by, refresh, sorted_by
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.search import test_writing
from tests.encrypted_fields.search.test_ordered import VALUES
from tests.encrypted_fields.search.test_writing import all_right, customer
from tests.sample_app.searchable import Customer, Order, Payroll, PostIt
from tests.support.mariadb import MariaDb
from tests.support.postgres import Postgres

MODELS = (Customer, Order, PostIt, Payroll)


class To:
    """Sends everything to one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias

    db_for_write = db_for_read


@pytest.fixture(scope="module")
def _servers(postgres_server: Postgres, mariadb_server: MariaDb, django_db_blocker: Any) -> Iterator[None]:
    address = urlsplit(postgres_server.database())
    found: dict[str, dict[str, Any]] = {
        "search_postgres": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.path[1:],
            "USER": address.username,
            "HOST": address.hostname,
            "PORT": address.port,
        },
        "search_mariadb": mariadb_server.database(),
    }
    for name, values in found.items():
        connections.settings[name] = {**connections.settings["default"], "OPTIONS": {}, **values}
    with django_db_blocker.unblock():
        for name in found:
            with connections[name].schema_editor() as editor:
                for model in MODELS:
                    editor.create_model(model)
    yield
    with django_db_blocker.unblock():
        for name in found:
            connections[name].close()
            del connections[name], connections.settings[name]


@pytest.fixture(params=["search_postgres", "search_mariadb"])
def alias(request: Any, _servers: None, django_db_blocker: Any, settings: Any, cmk_tsp: MemoryTsp) -> Iterator[str]:
    settings.DATABASE_ROUTERS = [To(request.param)]
    with django_db_blocker.unblock():
        yield request.param
        for model in reversed(MODELS):
            model._base_manager.using(request.param).all().delete()


WRITES = [
    test_writing.saved, test_writing.partly, test_writing.deferred, test_writing.emptied, test_writing.updated,
    test_writing.nulled, test_writing.one_part_updated, test_writing.bulk_updated, test_writing.bulk_updated_to_null,
    test_writing.case_updated, test_writing.moved, test_writing.created_or_got, test_writing.updated_or_created,
]  # fmt: skip


def test_every_way_of_writing_keeps_the_index_right(alias: str) -> None:
    for write in WRITES:
        one = customer()
        Customer.objects.bulk_create(
            [Customer(tenant_id="south", email="s@x.org", phone="", name=""), Customer(tenant_id="south")]
        )
        write(one)
        all_right()
        Customer.objects.all().delete()
    if connections[alias].features.supports_update_conflicts_with_target:
        test_writing.upserted(customer())
        all_right()


def test_indexes_answer_and_are_used(alias: str) -> None:
    ann = customer(login="Änn", number=7)
    Customer.objects.bulk_create([Customer(tenant_id="north", email=f"{number}@x.org") for number in range(1500)])
    Order.objects.create(customer=ann, title="t", place="here")
    with tenant("north"):
        assert Customer.objects.get(email="Ann@x.org") == ann
        assert Customer.objects.filter(email__in=["1@x.org", "2@x.org", "x"]).count() == 2
        assert Customer.objects.get(Q(login__iexact="änn") & Q(phone__last4="2345")) == ann
        assert Order.objects.get(customer__email="Ann@x.org", place="here").title == "t"
        assert Customer.objects.exclude(email="Ann@x.org").count() == 1500
        with connections[alias].cursor() as cursor:
            cursor.execute("ANALYZE" if "postgres" in alias else "ANALYZE TABLE sample_app_customer")
        assert "email_exact_index" in Customer.objects.filter(email="Ann@x.org").explain()
        (found,) = filtered_by(Customer.objects.all(), city="Kiel")
        assert found == ann


def test_uniqueness_is_the_databases(alias: str) -> None:
    customer(login="Änn", number=7)
    for values in ({"login": "änn"}, {"number": 7}):
        with pytest.raises(IntegrityError), atomic(using=alias):
            Customer.objects.create(tenant_id="north", **values)
    Customer.objects.create(tenant_id="south", login="Änn", number=7)
    with pytest.raises(ValidationError, match="already exists"):
        Customer(tenant_id="north", number=7).full_clean()


def test_ranges_and_order_are_those_of_the_values(alias: str) -> None:
    for name, values in VALUES.items():
        Payroll.objects.bulk_create(Payroll(tenant_id="north", **{name: value}) for value in values)
        rows = Payroll.objects.filter(**{"tenant_id": "north", f"{name}__isnull": False})
        assert list(rows.order_by(f"-{name}").values_list(name, flat=True)) == values[::-1]
        assert [getattr(row, name) for row in rows.order_by(name)] == values
        assert {getattr(row, name) for row in rows.filter(**{f"{name}__gt": values[0]})} == set(values[1:])
        assert {getattr(row, name) for row in rows.filter(**{f"{name}__lt": values[-1]})} == set(values[:-1])
        assert [getattr(row, name) for row in sorted_by(rows, name, limit=2)] == values[:2]


def test_an_index_is_filled(alias: str) -> None:
    for number in range(5):
        customer(email=f"{number}@x.org")
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE sample_app_customer SET email_exact_index = NULL, name_born = NULL")
    assert Customer.objects.filter(refresh.unfilled(Customer._meta.get_field("email_exact_index"))).count() == 5
    assert sum(one.written for one in refresh.refresh_indexes(Customer, batch=2)) == 5
    all_right()
