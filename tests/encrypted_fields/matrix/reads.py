"""Rows read in every way."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from django.db.models import Case, Count, Exists, F, Max, OuterRef, Prefetch, Q, Value, When

from tests.encrypted_fields.matrix.same import reading, same


def three(m: Any, f: str, a: Any, b: Any) -> None:
    for n, value in enumerate((a, b, None)):
        m.new(number=n, label=f"l{n}", code=f"c{n}", **{f: value})


@same
@reading
def values(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    rows = m.rows.order_by("-number")
    return [
        list(rows.values(f)),
        list(rows.values("label", f)),
        list(rows.values_list(f, "number")),
        list(rows.values_list(f, flat=True)),
        [tuple(row) for row in rows.values_list("number", f, named=True)],
        rows.values(f)[1],
        rows.values(f).first(),
        rows.values_list(f, flat=True).get(number=1),
        rows.values(f).count(),
        list(rows.values(f).iterator()),
        list(rows.values(name=F(f), n=F("number"))),
    ]


@same
def only_and_defer(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: b})
    found = [getattr(query.get(), f) for query in (m.rows.only(f), m.rows.only("number"), m.rows.defer(f))]
    row = m.rows.defer(f).get()
    row.number = 5
    row.save()
    part = m.rows.only(f).get()
    setattr(part, f, c)
    part.save()
    return found, m.one(f, "number")


@same
@reading
def iterate(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    rows = m.rows.order_by("number")
    return [getattr(row, f) for row in rows.iterator(chunk_size=2)], [getattr(row, f) for row in rows[1:]]


@same
def raw(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: b})
    name = m.connection.ops.quote_name
    table, column = name(m.row._meta.db_table), name(f)
    whole = m.rows.raw(f"SELECT * FROM {table}")
    part = m.rows.raw(f"SELECT id, tenant_id, {column} FROM {table}")
    (row,) = m.rows.raw(f"SELECT id, number FROM {table}")
    found = [getattr(one, f) for query in (whole, part) for one in query] + [getattr(row, f)]
    (row,) = m.rows.raw(f"SELECT * FROM {table}")
    row.number = 6
    row.save()
    return found, m.one(f, "number")


@same
@reading
def annotate(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    rows = m.rows.order_by("number")
    return [
        [(row.copy, getattr(row, f), row.up) for row in rows.annotate(copy=F(f), up=F("number") + 1)],
        [(getattr(row, f), row.n) for row in rows.annotate(n=Count("links"))],
        list(rows.annotate(copy=F(f)).values_list("copy", "number")),
    ]


@same
@reading
def annotate_whether_null(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    known = Case(When(**{f"{f}__isnull": False}, then=Value("yes")), default=Value("no"))
    return list(m.rows.annotate(known=known).order_by("number").values_list("known", flat=True))


@same
@reading
def null_lookups(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    rows = m.rows.all()
    # `= None` asks a plain JSON column for the JSON null, which an encrypted one does not tell from NULL
    null = {f"{f}__isnull": True} if f == "json" else {f: None}
    return [
        rows.filter(**{f"{f}__isnull": True}).count(),
        rows.filter(**null).count(),
        rows.exclude(**null).count(),
        rows.exclude(**{f"{f}__isnull": True}).count(),
        rows.filter(Q(**{f"{f}__isnull": True}) | Q(number=0)).count(),
        rows.filter(Exists(m.row.objects.using(m.db).filter(**null, pk=OuterRef("pk")))).count(),
        m.link.objects.using(m.db).filter(**{f"row__{f}__isnull": True}).count(),
    ]


@same
@reading
def counts(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    rows = m.rows.all()
    return [
        rows.count(),
        rows.exists(),
        rows.aggregate(n=Count(f), last=Max("number")),
        rows.aggregate(n=Count(f, filter=Q(number=0))),
        rows[:2].count(),
        rows.contains(rows.first()),
        list(rows.values("number").annotate(n=Count(f)).order_by("number").values_list("n", flat=True)),
    ]


@same
@reading
def picked(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    rows = m.rows.order_by("number")
    some = m.rows.in_bulk([row.pk for row in rows])
    return [
        getattr(rows.first(), f),
        getattr(rows.last(), f),
        getattr(rows.reverse()[1], f),
        getattr(m.rows.earliest("number"), f),
        getattr(m.rows.latest("number"), f),
        [getattr(some[row.pk], f) for row in rows],
        [getattr(row, f) for row in m.rows.in_bulk(["c1"], field_name="code").values()],
    ]


@same
@reading
def select_related(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    for row in m.rows.all():
        m.link.objects.using(m.db).create(row=row, word=str(row.number))
    links = m.link.objects.using(m.db).order_by("word")
    return [
        [getattr(link.row, f) for link in links.select_related("row")],
        [getattr(link.row, f) for link in links],
        [getattr(link.row, f) for link in links.select_related("row").only("word", f"row__{f}")],
        list(links.values_list(f"row__{f}", "word")),
    ]


@same
@reading
def prefetch_related(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    for row in m.rows.all():
        m.link.objects.using(m.db).create(row=row, word=str(row.number))
    links = m.link.objects.using(m.db).order_by("word")
    some = Prefetch("row", queryset=m.rows.filter(number__lt=5).defer("label"))
    back = m.rows.order_by("number").prefetch_related(Prefetch("links", to_attr="all_links"))
    return [
        [getattr(link.row, f) for link in links.prefetch_related("row")],
        [getattr(link.row, f) for link in links.prefetch_related(some)],
        [(getattr(row, f), [link.word for link in row.all_links]) for row in back],
    ]


@same
@reading
def sets_of_rows(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    low, high = m.rows.filter(number__lt=2), m.rows.filter(number__gt=0)

    def shown(rows: Any) -> Any:
        return sorted((row.number, repr(getattr(row, f))) for row in rows)

    return [
        shown(low.union(high, all=True)),
        shown(low.union(high)),
        shown(low.intersection(high)),
        shown(low.difference(high)),
        shown(low | high),
        shown(low & high),
        low.union(high, all=True).count(),
    ]


@same
@reading
def distinct_rows(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    return list(m.rows.values("number").distinct().order_by("number")), m.rows.values("pk").distinct().count()


@same
@reading
def pickled_and_copied(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: b})
    rows = pickle.loads(pickle.dumps(list(m.rows.all())))
    query = m.rows.all()
    query.query = pickle.loads(pickle.dumps(m.rows.all().query))
    twin = copy.deepcopy(m.rows.get())
    rows[0].number = 8
    rows[0].save()
    return [getattr(row, f) for row in [*rows, *query, twin]], m.one(f, "number")
