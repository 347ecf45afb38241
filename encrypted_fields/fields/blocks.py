"""Up to 1,000 rows that were read together: their stored values, and the keys that open them.

A block keeps nothing alive: each row's values hold their part, a part its batch, and the way down is weak. So keys and
ciphertext go with the last value that nobody has looked at.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any, Final, cast

from django.db import models

from encrypted_fields.conf import BATCH
from encrypted_fields.core.aead import OVERHEAD, ValueKey
from encrypted_fields.core.envelope import HEAD
from encrypted_fields.core.errors import WITHDRAWN, CmkError, InvalidCiphertext, InvalidEdek, KmsUnwrapFailed
from encrypted_fields.fields.binding import Binding, edek_of
from encrypted_fields.fields.codecs import TEXT
from encrypted_fields.fields.relatives import with_relatives
from encrypted_fields.keys import open_keys, permits
from encrypted_fields.tenancy import current_tenant, tenant_name

FORGED: Final = (KmsUnwrapFailed, InvalidEdek)
RECENT = 8  # blocks before this one, in the thread
FIRST = 32  # rows of a block that are asked for their relatives
AHEAD = 1024  # bytes; a longer value is opened by itself, so that the plaintext of a block stays small
TAKEN: Final = object()
_thread = threading.local()

_Take = Callable[[ValueKey | CmkError, int, Sequence[int], int], None]
_Place = tuple[_Take, int, Sequence[int]]
_Waiting = tuple[int, bytes, Sequence[int]]


class Batch:
    """The keys of up to 1,000 rows of one query, asked for at the first look. A key opens what its row has under it and
    goes; where that cannot be done ahead, it stays until somebody looks at its value."""

    __slots__ = ("__weakref__", "_parts")

    def __init__(self) -> None:
        self._parts: list[weakref.ref[Part]] = []
        _thread.recent = [*getattr(_thread, "recent", ())[-RECENT:], weakref.ref(self)]

    def add(self, part: Part) -> None:
        self._parts.append(weakref.ref(part))

    def parts(self) -> list[Part]:
        return [part for part in (ref() for ref in self._parts) if part is not None]

    def beside(self, *looked_at: models.Model) -> dict[Batch, None]:
        """The batches of rows that were loaded along with these."""
        rows = [*looked_at, *(row for part in self.parts() for row in part.first_rows())]
        parts = [
            value.part
            for row in with_relatives(rows, most=BATCH)
            for value in row.__dict__.values()
            if "part" in type(value).__dict__.get("__slots__", ())  # Sealed, of the module above
        ]
        return {part.batch: None for part in parts}

    def ask(self, tenant: str, binding: Binding, others: Sequence[Batch] = ()) -> None:
        """Open the values of this tenant that wait, or put beside each its key, or the reason why there is none: those
        that may be opened along with one of `binding`, here and in `others`."""
        parts = [part for batch in (self, *others) for part in batch.parts()]
        labels = _together(tenant, binding, parts)
        places: dict[bytes, _Place] = {}
        more: dict[bytes, list[_Place]] = {}  # of wrapped keys that open in several places
        for part in parts:
            found = part.waiting(tenant, binding.own_label, labels)
            take = part.taker(tenant)
            for index, edek, numbers in found:
                if edek in places:
                    more.setdefault(edek, []).append((take, index, numbers))
                else:
                    places[edek] = take, index, numbers
        try:
            for edek, key in open_keys(tenant, list(places), label=binding.label, labels=labels):
                take, index, numbers = places.pop(edek)
                take(key, index, numbers, HEAD + len(edek))
                for take, index, numbers in more.pop(edek, ()) if more else ():
                    take(key, index, numbers, HEAD + len(edek))
        except WITHDRAWN as error:  # the whole request was refused: so is each key that is left
            for take, index, numbers in chain(places.values(), *more.values()):
                take(error, index, numbers, 0)


def _together(tenant: str, binding: Binding, parts: Sequence[Part]) -> list[str]:
    """The labels that one call opens: that of `binding` first. Fields with a label of their own are asked for by
    themselves; the others of the rows come along, unless the policy refuses theirs, which whoever looks is told."""
    labels = {binding.label: None}
    if binding.own_label is None:
        for part in parts:
            for column in part.columns.values():
                label = column.binding.label
                if column.binding.own_label is None and label not in labels and permits(tenant, label):
                    labels[label] = None
    return list(labels)


class Column:
    """One encrypted column of a block of rows. Beside each value as it came from the database: its key, an error in its
    place, or None; and its plaintext once a key has opened it (text, or the bytes of another type), TAKEN, or None."""

    __slots__ = ("binding", "keys", "opened", "stored", "touched")

    def __init__(self, binding: Binding, stored: list[bytes | None]) -> None:
        self.binding, self.stored = binding, stored
        self.keys: list[ValueKey | CmkError | None] = [None] * len(stored)
        self.opened: list[Any] = [None] * len(stored)
        self.touched = False  # nobody has asked for keys

    def add(self, stored: bytes | None) -> None:
        """One more row: raw() gives them one by one."""
        self.stored.append(stored)
        self.keys.append(None)
        self.opened.append(None)


class Part:
    """The encrypted columns of one model in one block of rows, with the rows' keys and tenants in parallel lists."""

    __slots__ = (
        "__weakref__", "_members", "_owners", "_rows", "batch", "binding", "by_owner", "captured", "columns", "names",
        "pks", "tenants", "using",
    )  # fmt: skip

    def __init__(
        self,
        batch: Batch,
        binding: Binding,
        using: str,
        pks: Sequence[Any] | None,
        tenants: Sequence[Any] | None,
        columns: dict[str, Column],
    ) -> None:
        """`columns` by the attribute's name."""
        batch.add(self)
        self.batch, self.binding, self.using, self.columns = batch, binding, using, columns
        self.pks, self.tenants = pks, tenants
        self.captured = current_tenant() if binding.tenant_from is None else None
        self.names: list[str] | None = None  # of the rows' tenants, once they were asked for
        self._members: dict[str, list[int]] = {}
        self._rows: list[bytes] | None = None
        # Only a callable and raw() need the instance to know its tenant; of others the first lead to related rows.
        self.by_owner = callable(binding.tenant_from) or pks is None
        self._owners: dict[int, weakref.ref[models.Model]] = {}

    def belongs_to(self, index: int, instance: models.Model) -> None:
        if index < FIRST or self.by_owner:
            self._owners[index] = weakref.ref(instance)

    def tenant(self, index: int) -> str | None:
        """The row's own tenant, as loaded; None when only the context or the instance knows."""
        if self.binding.tenant_from is None:
            return self.captured
        if self.names is None and not self._name():
            owner = self._owners[index]() if index in self._owners else None
            return None if owner is None else self.binding.own_tenant(owner)
        return tenant_name(self.names[index]) if self.names is not None else None

    def row(self, index: int, instance: models.Model | None) -> bytes:
        """The row's part of the associated data."""
        if self.pks is None:
            return self.binding.row_part(getattr(instance, self.binding.pk.attname))
        return self.rows()[index]

    def rows(self) -> list[bytes]:
        if self._rows is None:
            self._rows = self.binding.row_parts(self.pks or ())
        return self._rows

    def open(self, column: Column, index: int, tenant: str, instance: models.Model | None) -> Any:
        """Text, or the bytes of another type. Raises what the proxy said about the key, or InvalidCiphertext."""
        stored, value = column.stored[index] or b"", column.opened[index]
        if value is None or value is TAKEN:
            key = column.keys[index]
            if key is None:
                edek_of(stored)
                column.opened[index] = None
                self.batch.ask(tenant, column.binding, self._related(instance))
                key, value = column.keys[index], column.opened[index]
            if isinstance(key, ValueKey) or (key is not None and key.retryable):
                column.keys[index] = None
            if isinstance(key, ValueKey):
                column.opened[index] = TAKEN
                return column.binding.open(stored, key, tenant, self.row(index, instance) if stored[4] == 1 else None)
            if value is None:
                # A wrapped key that does not unwrap is forged or of another tenant: the same error as a forged value.
                raise InvalidCiphertext if key is None or isinstance(key, FORGED) else key
        column.opened[index] = TAKEN
        return value

    def waiting(self, tenant: str, own: str | None, labels: Sequence[str]) -> list[_Waiting]:
        """(row, wrapped key, numbers of the columns) of this tenant's values that are neither open nor have a key.
        Only columns with these labels, `own` being the one that was given to the field itself."""
        numbers = [
            number
            for number, one in enumerate(self.columns.values())
            if one.binding.own_label == own and one.binding.label in labels
        ]
        here = list(self.columns.values())
        members = self._of(tenant)
        found = self._alike([here[number] for number in numbers], members, numbers)
        if found is not None:
            return found
        found = []
        columns = [(number, here[number].stored, here[number].keys, here[number].opened) for number in numbers]
        sizes: dict[bytes, int] = {}
        for index in members:
            head: bytes | None = None
            some: list[int] = []
            for number, stored_here, keys, opened in columns:
                stored = stored_here[index]
                if stored is None or opened[index] is not None or keys[index] is not None:
                    continue
                if head is not None and stored.startswith(head):  # the fields of a row mostly share their key
                    some.append(number)
                    continue
                size = sizes.get(stored[:HEAD])
                if size is None or len(stored) < size + OVERHEAD:
                    try:
                        size = sizes[stored[:HEAD]] = HEAD + len(edek_of(stored))
                    except InvalidCiphertext:
                        continue  # whoever looks at that value is told
                head, some = stored[:size], [number]
                found.append((index, stored[HEAD:size], some))
        return found

    def _alike(self, columns: list[Column], members: Sequence[int], numbers: list[int]) -> list[_Waiting] | None:
        """What `waiting` finds in the usual block, without looking at value by value: nobody has looked at it yet, all
        its rows are one tenant's, no value is missing, and those of a row have one wrapped key. None: another block."""
        count = len(columns[0].stored) if columns else 0
        if not count or len(members) != count or any(one.touched or not all(one.stored) for one in columns):
            return None
        stored: list[list[bytes]] = [cast(list[bytes], one.stored) for one in columns]
        try:
            size = HEAD + len(edek_of(stored[0][0]))
        except InvalidCiphertext:
            return None
        if not all(map(bytes.startswith, stored[0], repeat(stored[0][0][:HEAD]))):
            return None
        heads = [one[:size] for one in stored[0]]
        for some in stored:
            if min(map(len, some)) < size + OVERHEAD or not all(map(bytes.startswith, some, heads)):
                return None
        return list(zip(members, [head[HEAD:] for head in heads], repeat(numbers)))

    def taker(self, tenant: str) -> _Take:
        """A function that takes (a key or an error, row, numbers of its columns, where their sealed values begin). It
        opens them; where a value cannot be opened before somebody looks at it, it leaves the key, or the error, there.
        """
        columns = []
        for one in self.columns.values():
            one.touched = True
            free = None if one.binding.binds_row else one.binding.prefix(tenant, False)
            columns.append((one.stored, one.keys, one.opened, one.binding.prefix(tenant, True), free))
        # Not before it is asked for: values whose tenant or row depends on who asks.
        known = self.pks is not None and (self.names is not None or self.captured is not None)
        rows = self.rows() if known else []

        def take(key: ValueKey | CmkError, index: int, numbers: Sequence[int], start: int) -> None:
            if type(key) is not ValueKey or not known:
                for number in numbers:
                    columns[number][1][index] = key
                return
            row, least, most, open_at = rows[index], start + OVERHEAD, start + AHEAD, key.open_at
            for number in numbers:
                stored_here, keys, opened, bound, free = columns[number]
                stored, value = stored_here[index], None
                if stored is not None and least <= len(stored) <= most:
                    if stored[4] == 1:
                        value = open_at(stored, start, bound + row)
                    elif free is not None:
                        value = open_at(stored, start, free)
                if value is None:
                    keys[index] = key  # whoever looks is told, if it does not open
                elif value[:1] == TEXT:
                    opened[index] = value[1:].decode("utf-8", "surrogatepass")
                else:
                    opened[index] = value

        return take

    def first_rows(self) -> list[models.Model]:
        return [row for row in (ref() for ref in list(self._owners.values())[:FIRST]) if row is not None]

    def _related(self, instance: models.Model | None) -> list[Batch]:
        """The batches that one call opens together with this one: of rows that these lead to, and of rows that lead to
        these (a prefetched foreign key knows no way back)."""
        found = self.batch.beside(*([] if instance is None else [instance]))
        for batch in [ref() for ref in getattr(_thread, "recent", ())]:
            if batch is not None and batch not in found and self.batch in (more := batch.beside()):
                found |= more
        found.pop(self.batch, None)
        return list(found)

    def _of(self, tenant: str) -> Sequence[int]:
        """The rows whose keys are this tenant's to open."""
        everything = range(len(next(iter(self.columns.values())).stored))
        if self.binding.tenant_from is None:
            return everything if self.captured is None or self.captured == tenant else ()
        if self.names is not None or self._name():
            return self._members.get(tenant, ())
        return [index for index in everything if self.tenant(index) == tenant]

    def _name(self) -> bool:
        """Find the rows' tenants, "" where one is missing: whoever looks is told. False: instances have to say."""
        if self.tenants is None and not self.by_owner:
            found = self.binding.tenants(self.pks or (), self.using)
            self.tenants = [found.get(pk) for pk in self.pks or ()]
        if self.tenants is None:
            return False
        self.names = ["" if one is None or isinstance(one, bool) else str(one) for one in self.tenants]
        for index, name in enumerate(self.names):
            self._members.setdefault(name, []).append(index)
        return True
