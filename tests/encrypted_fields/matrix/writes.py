"""Rows saved one by one and many at a time."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Cast, Coalesce

from tests.encrypted_fields.matrix.same import same

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
    second = getattr(row, f)
    m.rows.update(**{f: None})
    row.refresh_from_db(from_queryset=m.rows.defer("label"))
    return first, second, getattr(row, f)


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
