"""Proxies, columns of parents and children, and the asynchronous ORM."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync

from encrypted_fields import aopen, decrypted
from tests.encrypted_fields.matrix.same import reading, same

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
@reading
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
