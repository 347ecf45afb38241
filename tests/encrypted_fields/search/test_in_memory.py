"""Sorting and filtering in memory: the right rows, few calls, a bound. And the plan of an index."""

from __future__ import annotations

import json
import tracemalloc
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields import NoTenant, tenant
from encrypted_fields.core.errors import KmsRefused
from encrypted_fields.search import TooManyRows, filtered_by, sorted_by
from encrypted_fields.search.in_memory import _Key
from encrypted_fields.search.plan import fair_bits, false_positives
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.search.test_writing import BORN, customer
from tests.sample_app.searchable import Customer, Payroll


@given(st.lists(st.tuples(st.none() | st.integers(0, 5), st.text(max_size=2))), st.booleans())
def test_keys_sort_as_values_do_and_nothing_comes_last(rows: list[Any], down: bool) -> None:
    there = sorted((row for row in rows if row[0] is not None), key=lambda row: row[0], reverse=down)
    expected = [row[0] for row in there] + [None] * (len(rows) - len(there))
    found = sorted(rows, key=lambda row: (_Key(row[0], down), _Key(row[1], False)))
    assert [row[0] for row in found] == expected
    assert found == sorted(found, key=lambda row: (_Key(row[0], down), _Key(row[1], False)))


@pytest.mark.django_db
class TestSorting:
    def test_by_several_fields_both_ways_with_and_without_a_limit(self, cmk_tsp: MemoryTsp) -> None:
        for salary, since in ((3, "2020-01-01"), (1, "2021-01-01"), (3, "2019-01-01"), (None, "2018-01-01")):
            Payroll.objects.create(tenant_id="north", salary=salary, since=since)
        rows = Payroll.objects.all()
        for limit in (None, 0, 1, 3, 4, 9):
            found = sorted_by(rows, "-salary", "since", limit=limit)
            years = [row.since.year for row in found]
            assert years == [2019, 2020, 2021, 2018][:limit]
        assert [row.salary for row in sorted_by(rows, "tenant_id", "salary")] == [1, 3, 3, None]

    def test_costs_one_call_a_thousand_rows_and_keeps_only_what_it_gives(self, cmk_tsp: MemoryTsp) -> None:
        Payroll.objects.bulk_create(
            [Payroll(tenant_id="north", salary=number * 7919 % 2500) for number in range(2500)], batch_size=500
        )
        with counted(cmk_tsp) as calls:
            found = sorted_by(Payroll.objects.all(), "salary", limit=5)
        assert [row.salary for row in found] == [0, 1, 2, 3, 4]
        assert [call.count for call in calls] == [1000, 1000, 500]
        tracemalloc.start()
        try:
            sorted_by(Payroll.objects.all(), "salary", limit=5)
            few = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            sorted_by(Payroll.objects.all(), "salary")
            assert few < tracemalloc.get_traced_memory()[1] / 1.5
        finally:
            tracemalloc.stop()

    def test_refuses_more_rows_than_its_bound(self, cmk_tsp: MemoryTsp) -> None:
        Payroll.objects.bulk_create([Payroll(tenant_id="north", salary=number) for number in range(4)])
        assert len(sorted_by(Payroll.objects.all(), "salary", most=4)) == 4
        for limit in (None, 1):
            with pytest.raises(TooManyRows, match="more than 3 rows"):
                sorted_by(Payroll.objects.all(), "salary", limit=limit, most=3)
        with pytest.raises(TooManyRows):
            list(filtered_by(Payroll.objects.all(), most=3, since__isnull=True))

    def test_refuses_what_it_cannot_do(self, cmk_tsp: MemoryTsp) -> None:
        rows: Any = Payroll.objects.all()
        for wrong in (rows[:3], rows.values("salary")):
            with pytest.raises(TypeError, match="unsliced"):
                sorted_by(wrong, "salary")
        with pytest.raises(ValueError, match="name of a field"):
            sorted_by(rows)
        with pytest.raises(ValueError, match="negative"):
            sorted_by(rows, "salary", limit=-1)
        with tenant("north"), pytest.raises(FieldError, match="does not know regex"):
            filtered_by(rows, salary__regex="x")


@pytest.mark.django_db
class TestFiltering:
    def test_finds_exactly_what_plain_columns_would(self, cmk_tsp: MemoryTsp) -> None:
        customer(city="Kiel", name="Smith", number=1)
        customer(city="Köln", name="SMITHERS", number=2, phone=None)
        customer(city="Kassel", name="Jones", number=3)
        customer(city=None, name=None, number=None, tenant_id="north")

        def found(**asked: Any) -> set[int | None]:
            with tenant("north"):
                return {row.number for row in filtered_by(Customer.objects.all(), **asked)}

        assert found(city="Kiel") == {1}
        assert found(name__icontains="SMITH") == {1, 2}
        assert found(name__contains="mith") == {1}
        assert found(name__startswith="Smi", tenant_id="north") == {1}
        assert found(name__istartswith="smi", tenant_id="south") == set()
        assert found(name__endswith="es") == {3}
        assert found(number__gt=1) == {2, 3}
        assert found(number__lte="2", born=BORN) == {1, 2}
        assert found(number__range=(2, 9)) == {2, 3}
        assert found(number__in=[1, 3, None]) == {1, 3}
        assert found(name__in=["Jones", "Smith"]) == {1, 3}
        assert found(phone=None) == found(phone__isnull=True) == {2}
        assert found(city__isnull=False) == {1, 2, 3}
        assert found(login="x") == set()

    def test_a_truncated_index_narrows_and_is_put_right(self, cmk_tsp: MemoryTsp) -> None:
        Customer.objects.bulk_create([Customer(tenant_id="north", city=f"c{number}") for number in range(700)])
        with tenant("north"), counted(cmk_tsp) as calls:
            (one,) = filtered_by(Customer.objects.all(), city="c7")
            near = Customer.objects.filter(city__candidates="c7").count()
        assert one.city == "c7"
        assert 1 <= near < 100  # of 64 groups; more is out of the question: 700 / 64 is 11
        assert sum(call.count for call in calls if "unwrap" in call.route) == near
        with pytest.raises(NoTenant):
            list(filtered_by(Customer.objects.all(), city="c7"))

    def test_says_when_access_was_withdrawn(self, cmk_tsp: MemoryTsp) -> None:
        customer()
        cmk_tsp.revoke("north")
        with pytest.raises(KmsRefused):
            list(filtered_by(Customer.objects.all(), name__icontains="x"))
        assert len(sorted_by(Customer.objects.all(), "name")) == 1


@pytest.mark.django_db
class TestPlan:
    def rows(self, *names: str, **options: Any) -> dict[str, Any]:
        out = StringIO()
        call_command("index_plan", *names, json=True, stdout=out, **options)
        return {one["index"].split(".")[-1]: one for one in json.loads(out.getvalue())}

    def test_counts_groups_and_chance_without_a_key(self, cmk_tsp: MemoryTsp) -> None:
        for number in range(32):
            customer(city=f"c{number}", born=BORN if number % 4 else None, number=number)
        customer(tenant_id="south", number=1)
        with counted(cmk_tsp) as calls:
            found = self.rows("sample_app.Customer")
        assert calls == []
        assert "number_unique_index_next" not in found
        born, city, number = found["born_exact_index"], found["city_rough_index"], found["number_unique_index"]
        assert (born["rows"], born["tenants"], born["largest_tenant"], born["values"], born["equal"]) == (
            25,
            2,
            24,
            1,
            1,
        )
        assert any("all rows are alike" in note for note in born["notes"])
        assert city["false_positives"] == 31 / 64
        assert any("fair for 32 rows: 3 to 4 bits" in note for note in city["notes"])
        assert (number["values"], number["largest_group"], number["equal"]) == (32, 1, 0)
        assert self.rows("sample_app.Customer", rows=100_000)["city_rough_index"]["false_positives"] > 1500

    def test_says_it_in_words_for_all_models(self, cmk_tsp: MemoryTsp) -> None:
        customer()
        out = StringIO()
        call_command("index_plan", stdout=out)
        text = out.getvalue()
        assert "sample_app.Customer.email_exact_index: 1 rows of 1 tenant secrets" in text
        assert "sample_app.Payroll.salary_ordered_index: 0 rows" in text
        assert "shows the order of all values" in text

    def test_refuses_what_it_does_not_know(self) -> None:
        for wrong in ({"names": ["sample_app.Nothing"]}, {"names": ["x"]}, {"names": [], "rows": 0}):
            names: Any = wrong.pop("names")
            with pytest.raises(CommandError):
                call_command("index_plan", *names, **wrong)


def test_fair_sizes() -> None:
    assert fair_bits(15) is None
    assert fair_bits(1_000_000) == (10, 18)
    for rows in (16, 1000, 10**6, 10**9):
        low, high = fair_bits(rows) or (0, 0)
        assert false_positives(rows, high) >= 1.8
        assert false_positives(rows, low) <= rows**0.5
