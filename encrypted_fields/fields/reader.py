"""The rows of a SELECT with encrypted columns: the whole select list is seen before it runs, and whole rows after."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any

from django.core.exceptions import FieldError
from django.db.models.aggregates import Count
from django.db.models.base import DEFERRED
from django.db.models.expressions import Col, ColPairs, Expression

from encrypted_fields.conf import BATCH
from encrypted_fields.fields.binary import read_alike, worth_it
from encrypted_fields.fields.blocks import Batch
from encrypted_fields.fields.lookups import EncryptedIsNull, refused
from encrypted_fields.fields.parts import Column, Part
from encrypted_fields.fields.sealed import Sealed, made_by_django
from encrypted_fields.search.ordering import by_index, is_ordered


class SealedCol(Col):
    """A reference to an encrypted column."""

    target: Any
    alias: Any


class _Group:
    """The encrypted columns of one table of the query: positions in the row of values, key and tenant."""

    def __init__(self, field: Any) -> None:
        self.binding = field.binding
        self.positions: list[tuple[int, Any]] = []
        self.clear: dict[tuple[int, Any], Any] = {}  # position and field of a moving value: where it is in clear
        self.pk: int | None = None
        self.tenant: int | None = None
        self.at_once = False  # whether a row's first value brings the others along into the instance

    def seal(self, batch: Batch, block: list[Any], using: str) -> None:
        """Put what stands for sealed values in the place of stored ones; `block` is the columns of the rows."""
        pks = None if self.pk is None else block[self.pk]
        tenants = None if self.tenant is None else block[self.tenant]
        columns = {field.attname: Column(field.binding, _as_bytes(block[at])) for at, field in self.positions}
        part = Part(batch, self.binding, using, pks, tenants, columns)
        rows = list(map(Sealed, repeat(part), range(len(block[0]))))
        whole: list[tuple[int, str]] = []
        for at, field in self.positions:
            stored = columns[field.attname].stored
            if None in stored:
                block[at] = [None if one is None else row for one, row in zip(stored, rows, strict=True)]
            else:
                block[at] = rows
                whole.append((at, field.attname))
        if self.at_once:
            part.along = tuple(name for _, name in whole[1:])
            for at, _ in whole[1:]:
                block[at] = [DEFERRED] * len(rows)

    def open(self, block: list[Any]) -> None:
        opened: dict[Any, Sequence[Any]] = {}
        for at, field in self.positions:
            if field not in opened:
                rows = block[at]
                found = None if not rows or rows[0] is None else rows[0].all_texts(field)
                opened[field] = found or [row if row is None else row.open(field, None) for row in rows]
            block[at] = opened[field]


class Reader:
    """Reads the rows of one compiler: instances get sealed values, `values()` and annotations get opened ones."""

    def __init__(self, compiler: Any) -> None:
        self._ref = weakref.ref(compiler)  # which holds this object through its attributes
        self._base = type(compiler)
        self._lazy: dict[Any, _Group] = {}
        self._eager: dict[Any, _Group] = {}
        self._hidden: list[Any] = []
        self._models: list[Any] = []
        self._visible = 0
        self.grouping = False
        self.in_binary = False  # how its rows are asked for
        compiler.cmk_reader = self
        compiler.get_extra_select = self.get_extra_select
        compiler.get_group_by = self.get_group_by
        compiler.apply_converters = self.apply_converters

    @property
    def _compiler(self) -> Any:
        return self._ref()

    def get_extra_select(self, order_by: Any, select: Any) -> list[Any]:
        """Called once the select list and the ordering are known: sort positions, refuse, add what must be read too."""
        compiler = self._compiler
        extra: list[Any] = self._base.get_extra_select(compiler, order_by, select)
        for at, (expression, _) in enumerate(order_by):
            if is_ordered(expression):
                order_by[at] = by_index(expression, compiler)
            else:
                _refuse_inside(expression)
        starts = _starts([entry[0] for entry in select])
        self._visible = starts.pop()
        of_instances = self._instance_positions()
        for index, (expression, _, _) in enumerate(select):
            if not isinstance(expression, SealedCol):
                _refuse_inside(expression)
            elif index in of_instances:
                self._group(self._lazy, expression, of_instances[index]).positions.append(
                    (starts[index], expression.target)
                )
            else:
                self._refuse_shape(expression.target)
                self._group(self._eager, expression, 0).positions.append((starts[index], expression.target))
        for (alias, klass, _), group in self._lazy.items():
            columns = {i: e for i, (e, _, _) in enumerate(select) if of_instances.get(i) == klass}
            group.pk = _position(columns, starts, alias, group.binding.pk, of_child=True)
            group.tenant = _position(columns, starts, alias, _tenant_field(group.binding))
        for (alias, _, _), group in self._eager.items():
            columns = {i: e for i, (e, _, _) in enumerate(select) if isinstance(e, Col)}
            group.pk = self._position_or_hidden(columns, starts, alias, group.binding.pk)
            group.tenant = self._position_or_hidden(columns, starts, alias, _tenant_field(group.binding))
        columns = {i: e for i, (e, _, _) in enumerate(select) if isinstance(e, Col)}
        for (alias, _, _), group in [*self._lazy.items(), *self._eager.items()]:
            for at, field in group.positions:
                if field.state is not None:
                    group.clear[at, field] = self._position_or_hidden(columns, starts, alias, field.clear)
        chosen = [*(entry[0] for entry in select), *(entry[0] for entry in extra), *self._hidden]
        self.in_binary = worth_it(compiler.query) and read_alike(chosen, compiler.connection)
        for (_, klass, _), group in self._lazy.items():
            group.at_once = not group.clear and made_by_django(self._models[klass])
        if not self._hidden:
            return extra
        # Django cuts each row to `col_count`; what it reads of `select` stays the same.
        compiler.col_count = self._visible + len(self._hidden)
        return [(column, compiler.compile(column), None) for column in self._hidden]

    def get_group_by(self, select: Any, order_by: Any) -> Any:
        self.grouping = True
        try:
            return self._base.get_group_by(self._compiler, select, order_by)
        finally:
            self.grouping = False

    def apply_converters(self, rows: Iterable[Any], converters: dict[int, Any]) -> Iterator[tuple[Any, ...]]:
        """Blocks of up to 1,000 rows, read ahead, so that a loop over `iterator()` asks once a block as well."""
        ours = {at for groups in (self._lazy, self._eager) for group in groups.values() for at, _ in group.positions}
        plain = {at: entry for at, entry in converters.items() if at not in ours}
        hidden = self._compiler.get_converters(self._hidden) if self._hidden else {}
        plain |= {self._visible + at: entry for at, entry in hidden.items()}
        whole = self._base.apply_converters(self._compiler, rows, plain) if plain else iter(rows)
        return chain.from_iterable(self._blocks(whole, self._compiler.using or self._compiler.connection.alias))

    def _blocks(self, rows: Iterator[Sequence[Any]], using: str) -> Iterator[Iterator[tuple[Any, ...]]]:
        while read := list(islice(rows, BATCH)):
            block: list[Any] = list(zip(*read, strict=True))
            batch = Batch()
            for groups in (self._lazy, self._eager):
                for group in groups.values():
                    group.seal(batch, block, using)
            for group in self._eager.values():
                group.open(block)
            for group in (*self._lazy.values(), *self._eager.values()):
                for (at, field), clear in group.clear.items():
                    block[at] = field.beside(block[at], block[clear])
            yield zip(*block[: self._visible], strict=True)

    def _instance_positions(self) -> dict[int, int]:
        """Index in the select list → number of the model instance that it becomes a part of."""
        found: dict[int, int] = {}
        if not self._compiler.query.default_cols or self._compiler.klass_info is None:
            return found
        waiting = [self._compiler.klass_info]
        for number, info in enumerate(waiting):
            for index in info["select_fields"]:
                found.setdefault(index, number)
            waiting.extend(info.get("related_klass_infos", ()))
        self._models = [info["model"] for info in waiting]
        return found

    def _group(self, groups: dict[Any, _Group], column: Any, klass: int) -> _Group:
        name = (column.alias, klass, column.target.binding.tenant_from)
        if name not in groups:
            groups[name] = _Group(column.target)
        return groups[name]

    def _refuse_shape(self, field: Any) -> None:
        query = self._compiler.query
        if query.combinator or query.subquery or query.distinct or query.group_by is not None:
            what = "a union" if query.combinator else "a subquery" if query.subquery else "distinct() or aggregation"
            raise FieldError(
                f"{field.model._meta.label}.{field.name} is encrypted and cannot be selected through {what}: "
                "select the primary keys there, then read the rows with filter(pk__in=…)"
            )
        if callable(field.binding.tenant_from):
            raise FieldError(
                f"{field.model._meta.label}.{field.name} takes its tenant from a function of the row, which values() "
                "and annotations do not have: read instances, or give tenant_from= the name of a column"
            )

    def _position_or_hidden(self, columns: dict[int, Any], starts: list[int], alias: Any, field: Any) -> int | None:
        if field is None:
            return None
        at = _position(columns, starts, alias, field)
        if at is None:
            self._hidden.append(field.get_col(alias))
            at = self._visible + len(self._hidden) - 1
        return at


def _as_bytes(stored: Sequence[Any]) -> list[bytes | None]:
    if isinstance(next((one for one in stored if one is not None), b""), bytes):
        return list(stored)
    return [one if one is None else bytes(one) for one in stored]  # a driver that gives memoryviews


def _tenant_field(binding: Any) -> Any:
    name = binding.tenant_column
    return next((field for field in binding.model._meta.local_concrete_fields if field.attname == name), None)


def _position(
    columns: dict[int, Any], starts: list[int], alias: Any, field: Any, *, of_child: bool = False
) -> int | None:
    if field is None:
        return None
    for index, column in columns.items():
        if isinstance(column, Col) and column.target is field and column.alias == alias:
            return starts[index]
    if of_child:  # a parent's row has the key of its child's
        for index, column in columns.items():
            if isinstance(column, Col) and column.target.primary_key:
                return starts[index]
    return None


def _starts(expressions: list[Any]) -> list[int]:
    """The first position of each expression in a row, and the row's length: a composite key takes several columns."""
    found, at = [], 0
    for expression in expressions:
        found.append(at)
        at += len(expression) if isinstance(expression, ColPairs) else 1
    return [*found, at]


def _refuse_inside(expression: Any) -> None:
    """FieldError when an encrypted column is used anywhere in it, except for IS NULL and COUNT(column)."""
    if isinstance(expression, SealedCol):
        raise refused(expression.target)
    if isinstance(expression, EncryptedIsNull) or not hasattr(expression, "get_source_expressions"):
        return
    counting = isinstance(expression, Count) and not getattr(expression, "distinct", False)
    for inner in expression.get_source_expressions():
        if counting and isinstance(inner, SealedCol) and inner.target.state is None:
            continue
        if isinstance(inner, Expression | EncryptedIsNull) or hasattr(inner, "get_source_expressions"):
            _refuse_inside(inner)
