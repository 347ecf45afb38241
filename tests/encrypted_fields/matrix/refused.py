"""What has no meaning on ciphertext: refused with FieldError, whatever the type, and nothing is written.

Some of it Django refuses for a plain column of the type as well, sometimes with an error of its own: those come with
the errors that are as good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import FieldError
from django.db import NotSupportedError
from django.db.models import (
    Avg,
    Case,
    CharField,
    Count,
    Exists,
    F,
    Func,
    Max,
    Min,
    OuterRef,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import Cast, Coalesce, Concat, Length, RowNumber, TruncYear, Upper

REFUSED: dict[str, tuple[Callable[..., Any], tuple[type[Exception], ...]]] = {}


def refused(operation: Callable[..., Any], *also: type[Exception]) -> None:
    REFUSED[operation.__name__] = operation, (FieldError, *also)


def query(name: str, make: Callable[..., Any], *also: type[Exception]) -> None:
    """A query that is refused when it is made or when it is run."""

    def run(m: Any, f: str, value: Any) -> None:
        list(make(m.rows.all(), f, value))

    run.__name__ = name
    refused(run, *also)


def write(name: str, make: Callable[..., Any], *also: type[Exception]) -> None:
    """An expression that the database would compute into the encrypted column: by each way to write it."""
    for way, do in WAYS.items():

        def run(m: Any, f: str, value: Any, do: Any = do) -> None:
            do(m, f, make(m, f, value))

        run.__name__ = f"{name}_by_{way}"
        refused(run, *also)


def _save(m: Any, f: str, expression: Any) -> None:
    row = m.rows.get()
    setattr(row, f, expression)
    row.save()


def _bulk_update(m: Any, f: str, expression: Any) -> None:
    row = m.rows.get()
    setattr(row, f, expression)
    m.rows.bulk_update([row], [f])


WAYS: dict[str, Callable[..., Any]] = {
    "update": lambda m, f, expression: m.rows.update(**{f: expression}),
    "save": _save,
    "bulk_update": _bulk_update,
    "create": lambda m, f, expression: m.new(**{f: expression}),
    "bulk_create": lambda m, f, expression: m.rows.bulk_create([m.row(**{f: expression})]),
}

for lookup in ("exact", "iexact", "gt", "gte", "lt", "lte", "contains", "icontains", "startswith", "istartswith",
               "endswith", "iendswith", "regex", "iregex"):  # fmt: skip
    query(f"filter_{lookup}", lambda rows, f, value, lookup=lookup: rows.filter(**{f"{f}__{lookup}": value}))
for lookup in ("year", "month", "day", "hour", "date", "k", "0", "len", "contained_by", "overlap", "has_key"):
    query(f"filter_{lookup}", lambda rows, f, value, lookup=lookup: rows.filter(**{f"{f}__{lookup}": 1}))
query("filter_in", lambda rows, f, value: rows.filter(**{f"{f}__in": [value]}))
query("filter_in_a_query", lambda rows, f, value: rows.filter(**{f"{f}__in": rows.values("number")}))
query("filter_range", lambda rows, f, value: rows.filter(**{f"{f}__range": (value, value)}))
query("filter_by_its_value", lambda rows, f, value: rows.filter(**{f: value}))
query("filter_by_a_column", lambda rows, f, value: rows.filter(**{f: F("label")}))
query("filter_a_column_by_it", lambda rows, f, value: rows.filter(label=F(f)))
query("filter_by_itself", lambda rows, f, value: rows.filter(**{f: F(f)}))
query("filter_or", lambda rows, f, value: rows.filter(Q(number=0) | Q(**{f: value})))
query("filter_an_annotation", lambda rows, f, value: rows.annotate(x=F(f)).filter(x=value))
query("exclude", lambda rows, f, value: rows.exclude(**{f: value}))
query("exclude_in", lambda rows, f, value: rows.exclude(**{f"{f}__in": [value]}))
query("order_by", lambda rows, f, value: rows.order_by(f))
query("order_by_descending", lambda rows, f, value: rows.order_by("number", f"-{f}"))
query("order_by_expression", lambda rows, f, value: rows.order_by(F(f).asc(nulls_last=True)))
query("order_by_an_annotation", lambda rows, f, value: rows.annotate(x=F(f)).order_by("x"))
query("order_values", lambda rows, f, value: rows.values("number").order_by(f))
query("distinct_values", lambda rows, f, value: rows.values(f).distinct())
query("distinct_values_list", lambda rows, f, value: rows.values_list("number", f).distinct())
query("group_by", lambda rows, f, value: rows.values(f).annotate(n=Count("pk")))
query("filter_in_values", lambda rows, f, value: rows.filter(label__in=rows.values(f)))
query("union_of_values", lambda rows, f, value: rows.values(f).union(rows.values(f)))
query("intersection_of_values", lambda rows, f, value: rows.values(f).intersection(rows.values(f)))
query("difference_of_values", lambda rows, f, value: rows.values(f).difference(rows.values(f)))
query("subquery", lambda rows, f, value: rows.annotate(x=Subquery(rows.values(f)[:1])))
query("outer_reference", lambda rows, f, value: rows.filter(Exists(rows.filter(label=OuterRef(f)))))
query("annotate_length", lambda rows, f, value: rows.annotate(x=Length(f)))
query("annotate_function", lambda rows, f, value: rows.annotate(x=Upper(f)).values("x"))
query(
    "annotate_any_function",
    lambda rows, f, value: rows.annotate(x=Func(F(f), function="MD5", output_field=CharField())),
)
query("annotate_cast", lambda rows, f, value: rows.annotate(x=Cast(F(f), CharField())))
query("annotate_coalesce", lambda rows, f, value: rows.annotate(x=Coalesce(F(f), Value("x"), output_field=CharField())))
query("annotate_concat", lambda rows, f, value: rows.annotate(x=Concat(F(f), Value("x"), output_field=CharField())))
query("annotate_case", lambda rows, f, value: rows.annotate(x=Case(When(number=0, then=F(f)))))
query("annotate_condition", lambda rows, f, value: rows.annotate(x=Case(When(**{f: value}, then=Value(1)))))
query("annotate_truncated", lambda rows, f, value: rows.annotate(x=TruncYear(f)), TypeError, ValueError)
query(
    "window",
    lambda rows, f, value: rows.annotate(x=Window(RowNumber(), partition_by=[F(f)], order_by="number")),
)
query("window_ordered", lambda rows, f, value: rows.annotate(x=Window(RowNumber(), order_by=F(f).asc())))
for aggregate in (Max, Min, Sum, Avg):
    query(
        f"aggregate_{aggregate.__name__}",
        lambda rows, f, value, found=aggregate: [rows.aggregate(x=found(f))],
        NotSupportedError,
    )
query("aggregate_distinct_count", lambda rows, f, value: [rows.aggregate(x=Count(f, distinct=True))])
query("annotate_max_of_relation", lambda rows, f, value: [rows.values("number").annotate(x=Max(f)).get()])
query("earliest", lambda rows, f, value: [rows.earliest(f)])
query("latest", lambda rows, f, value: [rows.latest(f)])
query("dates", lambda rows, f, value: rows.dates(f, "year"), TypeError, ValueError)
query("datetimes", lambda rows, f, value: rows.datetimes(f, "year"), TypeError, ValueError)
query("in_bulk", lambda rows, f, value: [rows.in_bulk([1], field_name=f)], ValueError)
query("get_or_create", lambda rows, f, value: rows.get_or_create(**{f: value}))
query("update_or_create", lambda rows, f, value: rows.update_or_create(**{f: value}))
query("copy_to_a_plain_column", lambda rows, f, value: [rows.update(label=F(f))])
query("compute_a_plain_column", lambda rows, f, value: [rows.update(label=Upper(F(f)))])

write("plain_column", lambda m, f, value: F("label"), ValueError)
write("sum", lambda m, f, value: F(f) + 1, ValueError)
write("function", lambda m, f, value: Upper(Value("canary")))
write("concat", lambda m, f, value: Concat(Value("canary"), Value("x"), output_field=CharField()))
write("subquery", lambda m, f, value: Subquery(m.rows.values("label")[:1]))


def on_a_relation(m: Any, f: str, value: Any) -> None:
    list(m.link.objects.using(m.db).filter(**{f"row__{f}": value}))


def order_on_a_relation(m: Any, f: str, value: Any) -> None:
    list(m.link.objects.using(m.db).order_by(f"row__{f}"))


def column_of_a_parent(m: Any, f: str, value: Any) -> None:
    list(m.heir.objects.using(m.db).filter(**{f: value}))


def column_of_a_child(m: Any, f: str, value: Any) -> None:
    list(m.child.objects.using(m.db).order_by(f))


for operation in (on_a_relation, order_on_a_relation, column_of_a_parent, column_of_a_child):
    refused(operation)
