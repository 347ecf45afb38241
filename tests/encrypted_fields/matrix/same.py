"""What ends on an encrypted column as it ends on a plain one.

An operation takes the models of one side and works on the column `f` with three values of its type; what it returns
(or the kind of error that it raises) is compared. `m.new(…)` makes a row of the database at hand.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction
from django.db.models import Case, Count, Exists, F, Max, OuterRef, Prefetch, Q, Value, When
from django.db.models.functions import Cast, Coalesce

from encrypted_fields import aopen, decrypted

SAME: dict[str, Callable[..., Any]] = {}


def same(operation: Callable[..., Any]) -> Callable[..., Any]:
    SAME[operation.__name__] = operation
    return operation


# --- one row


@same
def save_and_get(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    return [getattr(m.rows.get(pk=m.new(**{f: value}).pk), f) for value in (a, b, c, None)]


@same
def save_twice(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a})
    setattr(row, f, b)
    row.save()
    again = m.rows.get()
    again.number = 7
    again.save()
    return m.one(f, "number")


@same
def save_update_fields(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a}, number=1)
    setattr(row, f, b)
    row.number = 2
    row.save(update_fields=["number"])
    first = m.one(f, "number")
    row.number = 3
    row.save(update_fields=[f])
    return first, m.one(f, "number")


@same
def save_with_value_expression(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a})
    setattr(row, f, Value(b, output_field=row._meta.get_field(f)))
    row.save()
    return m.one(f)


@same
def save_to_null_and_back(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a})
    setattr(row, f, None)
    row.save()
    first = m.one(f)
    setattr(row, f, b)
    row.save()
    return first, m.one(f)


@same
def save_a_copy(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: a})
    row = m.rows.get()
    row.pk, row._state.adding = row._meta.pk.get_default(), True
    row.save()
    return [getattr(one, f) for one in m.rows.all()]


@same
def save_to_another_database(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: b})
    m.rows.get().save(using=m.other, force_insert=True)
    found = m.row.objects.using(m.other).get()
    found.number = 3
    found.save()
    return getattr(found, f), m.row.objects.using(m.other).values_list(f, "number").get(), m.one(f, "number")


@same
def refresh(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a})
    m.rows.update(**{f: b})
    row.refresh_from_db()
    first = getattr(row, f)
    m.rows.update(**{f: c})
    row.refresh_from_db(fields=[f])
    return first, getattr(row, f)


@same
def get_or_create(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    made = [m.rows.get_or_create(code="x", defaults={f: value})[1] for value in (a, b)]
    return made, m.one(f)


@same
def update_or_create(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.rows.update_or_create(code="x", defaults={f: a})
    first = m.one(f)
    m.rows.update_or_create(code="x", defaults={f: b}, create_defaults={f: c})
    return first, m.one(f)


@same
def locked_for_update(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: a})
    with transaction.atomic(using=m.db):
        row = m.rows.select_for_update().get()
        first = getattr(row, f)
        setattr(row, f, b)
        row.save()
    return first, m.one(f)


@same
def rolled_back(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a})
    with transaction.atomic(using=m.db):
        setattr(row, f, b)
        row.save()
        m.new(**{f: c})
        transaction.set_rollback(True, using=m.db)
    return m.one(f)


# --- many rows


@same
def bulk_create(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    made = m.rows.bulk_create([m.row(number=n, **{f: value}) for n, value in enumerate((a, b, None, c))])
    return all(one.pk for one in made), m.all(f)


@same
def bulk_create_in_batches(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.rows.bulk_create([m.row(number=n, **{f: value}) for n, value in enumerate((a, b, None, c))], batch_size=3)
    return m.all(f)


@same
def bulk_create_ignoring_conflicts(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a}, code="x")
    m.rows.bulk_create([m.row(pk=row.pk, **{f: b})], ignore_conflicts=True)
    return m.one(f)


@same
def bulk_create_updating_conflicts(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    row = m.new(**{f: a})
    fields = [one.name for one in m.row._meta.local_fields if one.name not in ("id", "label", "code")]
    target = {"unique_fields": ["id"]}
    if m.connection.vendor == "mysql":  # any unique column may be the one that conflicts
        fields, target = ["number"], {}
    made = [m.row(pk=row.pk, number=4, **{f: b})]
    m.rows.bulk_create(made, update_conflicts=True, update_fields=fields, **target)
    return m.one(f, "number")


@same
def bulk_update(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    rows = [m.new(number=n, **{f: a}) for n in range(4)]
    for row, value in zip(rows, (b, c, None, a), strict=True):
        setattr(row, f, value)
        row.label = "new"
    changed = m.rows.bulk_update(rows, [f, "label"])
    return changed, m.all(f, "label")


@same
def bulk_update_in_batches(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    rows = [m.new(number=n, **{f: a}) for n in range(3)]
    for row, value in zip(rows, (b, c, None), strict=True):
        setattr(row, f, value)
    m.rows.bulk_update(rows, [f], batch_size=2)
    return m.all(f)


@same
def update(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    for n in range(3):
        m.new(number=n, **{f: a})
    changed = m.rows.filter(number__gt=0).update(**{f: b}, label="x")
    return changed, m.all(f, "label")


@same
def update_to_null(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: b})
    return m.rows.update(**{f: None}), m.one(f), m.rows.filter(number=99).update(**{f: a})


@same
def update_with_value(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: a})
    m.rows.update(**{f: Value(b, output_field=m.field(f))})
    return m.one(f)


@same
def update_with_case(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    for n in range(3):
        m.new(number=n, **{f: a})
    kind = m.field(f)
    m.rows.update(
        **{f: Case(When(number=0, then=Value(b, kind)), When(Q(number=1), then=Value(c, kind)), default=F(f))}
    )
    return m.all(f)


@same
def update_with_coalesce(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(number=0, **{f: a})
    m.new(number=1)
    m.rows.update(**{f: Coalesce(F(f), Value(b, output_field=m.field(f)))})
    return m.all(f)


@same
def update_with_cast(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: a})
    m.rows.update(**{f: Cast(Value(b, output_field=m.field(f)), m.field(f))})
    return m.one(f)


@same
def update_to_itself(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: a})
    return m.rows.update(**{f: F(f)}, number=2), m.one(f, "number")


@same
def update_across_a_join(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.link.objects.using(m.db).create(row=m.new(**{f: a}), word="w")
    m.new(number=1, **{f: a})
    m.rows.filter(links__word="w").update(**{f: b})
    return m.all(f)


@same
def delete(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: a})
    m.new()
    return m.rows.filter(**{f"{f}__isnull": False}).delete()[0], m.rows.count()


# --- reading


def three(m: Any, f: str, a: Any, b: Any) -> None:
    for n, value in enumerate((a, b, None)):
        m.new(number=n, label=f"l{n}", code=f"c{n}", **{f: value})


@same
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
def annotate(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    rows = m.rows.order_by("number")
    return [
        [(row.copy, getattr(row, f), row.up) for row in rows.annotate(copy=F(f), up=F("number") + 1)],
        [(getattr(row, f), row.n) for row in rows.annotate(n=Count("links"))],
        list(rows.annotate(copy=F(f)).values_list("copy", "number")),
    ]


@same
def annotate_whether_null(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    known = Case(When(**{f"{f}__isnull": False}, then=Value("yes")), default=Value("no"))
    return list(m.rows.annotate(known=known).order_by("number").values_list("known", flat=True))


@same
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
def sets_of_rows(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    low, high = m.rows.filter(number__lt=2), m.rows.filter(number__gt=0)

    def shown(rows: Any) -> Any:
        return sorted((row.number, repr(getattr(row, f))) for row in rows)

    return shown(low.union(high, all=True)), shown(low | high), shown(low & high), low.union(high, all=True).count()


@same
def distinct_rows(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    three(m, f, a, b)
    return list(m.rows.values("number").distinct().order_by("number")), m.rows.values("pk").distinct().count()


@same
def pickled_and_copied(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    m.new(**{f: b})
    rows = pickle.loads(pickle.dumps(list(m.rows.all())))
    query = m.rows.all()
    query.query = pickle.loads(pickle.dumps(m.rows.all().query))
    twin = copy.deepcopy(m.rows.get())
    rows[0].number = 8
    rows[0].save()
    return [getattr(row, f) for row in [*rows, *query, twin]], m.one(f, "number")


# --- inheritance


@same
def proxy(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    rows = m.proxy.objects.using(m.db)
    row = rows.create(**{f: a})
    first = getattr(rows.get(), f)
    rows.update(**{f: b})
    second = getattr(m.rows.get(), f)
    row = rows.get()
    setattr(row, f, c)
    rows.bulk_update([row], [f])
    return first, second, m.one(f), rows.values_list(f, flat=True).get()


@same
def column_of_a_parent(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    return through(m, m.heir, f, a, b, c, "more")


@same
def column_of_a_child(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    return through(m, m.child, f, a, b, c, "bark")


def through(m: Any, model: Any, f: str, a: Any, b: Any, c: Any, other: str) -> Any:
    rows = model.objects.using(m.db)
    row = rows.create(**{f: a})
    found = [getattr(rows.get(), f)]
    setattr(row, f, b)
    row.save()
    found += [rows.values_list(f, other).get(), getattr(rows.only(f).get(), f)]
    rows.update(**{f: c, other: 9})
    found += [getattr(rows.get(), f), getattr(rows.get(), other)]
    again = rows.get()
    setattr(again, f, b)
    rows.bulk_update([again], [f, other])
    found += [getattr(rows.get(), f), rows.filter(**{f"{f}__isnull": True}).count()]
    rows.update(**{f: None})
    return [*found, rows.values(f).get(), rows.filter(**{f"{f}__isnull": True}).delete()[0]]


# --- async


@same
def asynchronous(m: Any, f: str, a: Any, b: Any, c: Any) -> Any:
    async def work() -> Any:
        row = await m.rows.acreate(**{f: a})
        found = [getattr(await aopen(await m.rows.aget()), f)]
        setattr(row, f, b)
        await row.asave()
        found += [getattr(one, f) async for one in decrypted(m.rows.all())]
        found += [one async for one in m.rows.values_list(f, flat=True)]
        async with decrypted(m.rows.all()) as rows:
            found += [getattr(one, f) for one in rows]
        await m.rows.aupdate(**{f: c})
        await row.arefresh_from_db()
        found += [getattr(await aopen(row), f), getattr(await aopen(await m.rows.afirst()), f)]
        await m.rows.abulk_create([m.row(number=2, **{f: a})])
        rows = [one async for one in m.rows.order_by("number")]
        setattr(rows[1], f, b)
        await m.rows.abulk_update(rows, [f])
        row, made = await m.rows.aupdate_or_create(code="x", defaults={f: b, "number": 3})
        found += [getattr(one, f) async for one in decrypted(m.rows.order_by("number"))]
        return [*found, made, await m.rows.acount(), await m.rows.aexists()]

    return async_to_sync(work)()
