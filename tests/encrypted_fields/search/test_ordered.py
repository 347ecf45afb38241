"""Ranges and ordering by the database over an order-revealing index, and what it does not promise."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db.models import Count, F, Q
from django.db.models.functions import Lower
from hypothesis import given, settings
from hypothesis import strategies as st

from encrypted_fields import NoTenant, TenantConflict, index_keys, tenant
from encrypted_fields.core.blind import HEAD, ready
from encrypted_fields.core.order import DIGIT, ordered
from encrypted_fields.search.ordering import RotationUnderWay
from encrypted_fields.testing import MemoryTsp, stored_bytes
from tests.sample_app.searchable import Payroll

UTC = datetime.UTC
VALUES: dict[str, list[Any]] = {
    "salary": [-(2**31), -1, 0, 1, 5, 2**31 - 1],
    "small": [-(2**15), -3, 0, 2**15 - 1],
    "big": [-(2**63), -(2**40), 0, 2**40, 2**63 - 1],
    "bonus": [Decimal("-999999.99"), Decimal("-0.01"), Decimal(0), Decimal("0.01"), Decimal("999999.99")],
    "since": [datetime.date.min, datetime.date(1999, 12, 31), datetime.date(2000, 1, 1), datetime.date.max],
    "seen": [
        datetime.datetime(1, 1, 2, tzinfo=UTC),
        datetime.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
        datetime.datetime(2024, 3, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.datetime(9999, 12, 30, tzinfo=UTC),
    ],
    "starts": [datetime.time(0), datetime.time(8, 30), datetime.time(23, 59, 59, 999999)],
    "lasts": [datetime.timedelta(days=-3), datetime.timedelta(0), datetime.timedelta(microseconds=1)],
}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_bytes_are_in_the_order_of_the_numbers(one: int, other: int) -> None:
    """And share exactly what the paper says they share: the digits above the first bit that differs, and no more."""
    key = ready(b"k" * 32)
    first, second = ordered(key, 7, one, 32), ordered(key, 7, other, 32)
    assert (first < second, first == second) == (one < other, one == other)
    digits = [data[HEAD + at : HEAD + at + DIGIT] for data in (first, second) for at in range(0, 64, DIGIT)]
    same = 32 - (one ^ other).bit_length()
    assert digits[:same] == digits[32 : 32 + same]
    if same < 32:
        difference = int.from_bytes(digits[same], "big") - int.from_bytes(digits[32 + same], "big")
        assert abs(difference) == 1


def test_refuses_numbers_outside() -> None:
    key = ready(b"k" * 32)
    for value, width in ((-1, 8), (256, 8), (0, 0), (0, 65)):
        with pytest.raises(ValueError, match=r"bits"):
            ordered(key, 7, value, width)


@pytest.fixture
def _rows(cmk_tsp: MemoryTsp) -> None:
    for name, values in VALUES.items():
        for value in values:
            Payroll.objects.create(tenant_id="north", **{name: value})
    Payroll.objects.create(tenant_id="south", salary=3)


@pytest.mark.django_db
@pytest.mark.usefixtures("_rows")
class TestDatabase:
    @pytest.mark.parametrize("name", VALUES)
    def test_ranges_and_order_are_those_of_the_values(self, name: str) -> None:
        values = VALUES[name]
        asked = Payroll.objects.filter(**{"tenant_id": "north", f"{name}__isnull": False})

        def found(**lookup: Any) -> set[Any]:
            return {getattr(row, name) for row in asked.filter(**lookup)}

        for at, value in enumerate(values):
            assert found(**{f"{name}__lt": value}) == set(values[:at])
            assert found(**{f"{name}__lte": value}) == set(values[: at + 1])
            assert found(**{f"{name}__gt": value}) == set(values[at + 1 :])
            assert found(**{f"{name}__gte": value}) == set(values[at:])
            assert found(**{f"{name}__range": (values[0], value)}) == set(values[: at + 1])
        assert [getattr(row, name) for row in asked.order_by(name)] == values
        assert list(asked.order_by(f"-{name}").values_list(name, flat=True)) == values[::-1]
        assert len(asked.order_by(F(name).desc(nulls_last=True)).values_list("pk")) == len(values)
        assert getattr(asked.latest(name), name) == values[-1]
        assert [row.pk for row in asked.order_by(name).only("pk")[:2]] == [
            row.pk for row in asked.order_by(name, "pk")[:2]
        ]

    def test_a_range_is_of_one_tenant_or_of_those_that_the_query_names(self) -> None:
        both = Payroll.objects.filter(tenant_id__in=["north", "south"])
        assert sorted(row.salary for row in both.filter(salary__range=(0, 10))) == [0, 1, 3, 5]
        with pytest.raises(NoTenant):
            Payroll.objects.filter(salary__gt=1).count()
        with pytest.raises(NoTenant):
            list(Payroll.objects.order_by("salary"))
        with pytest.raises(FieldError, match="one tenant"):
            list(both.order_by("salary"))
        with tenant("south"), pytest.raises(TenantConflict):
            list(Payroll.objects.filter(tenant_id="north").order_by("salary"))

    @pytest.mark.parametrize(
        "order",
        [lambda: F("salary") + 1, lambda: Lower("salary"), lambda: F("salary") == 1],
        ids=["sum", "function", "nothing"],
    )
    def test_refuses_to_order_by_what_is_computed(self, order: Any) -> None:
        with tenant("north"), pytest.raises((FieldError, TypeError)):
            list(Payroll.objects.order_by(order()).values_list("pk"))

    def test_refuses_groups_unions_and_other_lookups(self) -> None:
        with tenant("north"):
            rows = Payroll.objects.filter(tenant_id="north")
            for wrong in (
                lambda: list(rows.values("tenant_id").annotate(n=Count("pk")).order_by("salary")),
                lambda: list(rows.filter(small__exact=1)),
                lambda: list(rows.filter(salary__gt=F("small"))),
            ):
                with pytest.raises(FieldError):
                    wrong()
            for value in (2**31, -(2**31) - 1):
                with pytest.raises(ValueError, match="outside"):
                    rows.filter(salary__lt=value)
            with pytest.raises(ValueError, match="two ends"):
                rows.filter(salary__range=(1, None))
            assert rows.filter(Q(salary=5) | Q(small__lt=-5)).count() == 2

    def test_through_a_rotation_ranges_work_and_order_is_refused(
        self, cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cmk_tsp.begin_rotation("north")
        index_keys.forget()
        monkeypatch.setattr(index_keys, "_clock", lambda: 1e9)
        with tenant("north"):
            index_keys.live("north")
            monkeypatch.setattr(index_keys, "_clock", lambda: 1e9 + 61)
            Payroll.objects.create(tenant_id="north", salary=4)
            assert {row.salary for row in Payroll.objects.filter(salary__range=(1, 9))} == {1, 4, 5}
            assert Payroll.objects.filter(salary__gt=3).count() == 3
            assert Payroll.objects.filter(salary__lt=5).count() == 5
            with pytest.raises(RotationUnderWay):
                list(Payroll.objects.order_by("salary"))

    def test_nothing_is_shared_between_tenants_and_fields(self) -> None:
        Payroll.objects.create(tenant_id="south", salary=5, big=5)
        south = Payroll.objects.filter(tenant_id="south").last()
        north = Payroll.objects.get(tenant_id="north", salary=5)
        assert south is not None
        ours, theirs = (stored_bytes(one, "salary_ordered_index") for one in (north, south))
        assert ours is not None
        assert theirs is not None
        # the digits of one value under two keys: as good as drawn
        assert sum(ours[at : at + 2] == theirs[at : at + 2] for at in range(HEAD, len(ours), 2)) <= 1
