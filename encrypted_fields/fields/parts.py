"""Stored values of rows that were read together, column by column, and beside them what opens them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import models

from encrypted_fields.core.aead import OVERHEAD, ValueKey
from encrypted_fields.core.envelope import HEAD
from encrypted_fields.core.errors import CmkError, InvalidCiphertext, InvalidEdek, KmsUnwrapFailed
from encrypted_fields.fields.binding import Binding, edek_of
from encrypted_fields.fields.uniform import AHEAD, as_read, edeks_of, open_all
from encrypted_fields.keys import Unwrapped
from encrypted_fields.tenancy import current_tenant, tenant_name

if TYPE_CHECKING:
    from encrypted_fields.fields.blocks import Batch

FORGED: Final = (KmsUnwrapFailed, InvalidEdek)
FIRST = 32  # rows of a block that are asked for their relatives
TAKEN: Final = object()


class Waiting(NamedTuple):
    """Values of a part that have to be opened, in parallel lists: rows, wrapped keys, numbers of the columns."""

    rows: Sequence[int]
    edeks: Sequence[bytes]
    numbers: Sequence[Sequence[int]]
    uniform: bool = False  # all values of these columns, with one wrapped key a row


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

    def take(self, key: ValueKey | CmkError | None, index: int, tenant: str, row: bytes | None, start: int) -> None:
        """Open the value of this row, which is sealed from `start` on. Without `row`, or when it is long or does not
        open, the key stays for whoever looks; an error stays for them in any case."""
        stored, value = self.stored[index], None
        if isinstance(key, ValueKey) and row is not None and stored is not None:
            bound = stored[4] == 1
            if start + OVERHEAD <= len(stored) <= start + AHEAD and (bound or not self.binding.binds_row):
                prefix = self.binding.prefix(tenant, bound)
                value = key.open_at(stored, start, prefix + row if bound else prefix)
        if value is None:
            self.keys[index] = key
        else:
            self.opened[index] = as_read(value)


class Place:
    """Where a row's values are: in which part, in which of its rows."""

    __slots__ = ("index", "part")

    def __init__(self, part: Part, index: int) -> None:
        self.part, self.index = part, index


class Part:
    """The encrypted columns of one model in one block of rows, with the rows' keys and tenants in parallel lists."""

    __slots__ = (
        "__weakref__", "_members", "_owners", "_rows", "along", "batch", "binding", "by_owner", "captured", "columns",
        "names", "pks", "tenants", "using",
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
        self.along: tuple[str, ...] = ()  # attributes that are set with the first value of a row
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
        self.fetch(column, index, tenant, instance)
        value, key = column.opened[index], column.keys[index]
        if value is not None:
            column.opened[index] = TAKEN
            return value
        if isinstance(key, ValueKey) or (key is not None and key.retryable):
            column.keys[index] = None
        if isinstance(key, ValueKey):
            column.opened[index] = TAKEN
            stored = column.stored[index] or b""
            return column.binding.open(stored, key, tenant, self.row(index, instance) if stored[4] == 1 else None)
        # A wrapped key that does not unwrap is forged or of another tenant: the same error as a forged value.
        raise InvalidCiphertext if key is None or isinstance(key, FORGED) else key

    def fetch(self, column: Column, index: int, tenant: str, instance: models.Model | None) -> None:
        """See that this value is open, or has its key or an error beside it; with it all that one call opens."""
        if column.opened[index] is TAKEN:
            column.opened[index] = None
        if column.opened[index] is None and column.keys[index] is None:
            edek_of(column.stored[index] or b"")
            self.batch.ask(tenant, column.binding, self.batch.related(instance))

    def waiting(self, tenant: str, own: str | None, labels: Sequence[str]) -> Waiting:
        """This tenant's values that are neither open nor have a key. Only columns with these labels, `own` being the
        one that was given to the field itself."""
        here, members = list(self.columns.values()), self._of(tenant)
        numbers = [
            number for number, one in enumerate(here) if one.binding.own_label == own and one.binding.label in labels
        ]
        some = [here[number] for number in numbers]
        if some and len(members) == len(some[0].stored) and not any(one.touched for one in some):
            alike = edeks_of([one.stored for one in some])
            if alike is not None:
                return Waiting(members, alike, [numbers] * len(alike), uniform=True)
        return self._scattered(members, numbers, here)

    def _scattered(self, members: Sequence[int], numbers: Sequence[int], here: Sequence[Column]) -> Waiting:
        """`waiting`, value by value."""
        found_rows, found_edeks, found_numbers = list[int](), list[bytes](), list[list[int]]()
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
                found_rows.append(index)
                found_edeks.append(stored[HEAD:size])
                found_numbers.append(some)
        return Waiting(found_rows, found_edeks, found_numbers)

    def take(self, tenant: str, waiting: Waiting, keys: Mapping[bytes, Unwrapped]) -> None:
        """Open what waits. Where a value cannot be opened before somebody looks at it, its key stays, or the error."""
        columns = list(self.columns.values())
        for one in columns:
            one.touched = True
        # Not before it is asked for: values whose tenant or row depends on who asks.
        known = self.pks is not None and (self.names is not None or self.captured is not None)
        rows = self.rows() if known else []
        if known and waiting.uniform:
            some = [columns[number] for number in waiting.numbers[0]]
            if open_all(some, tenant, rows, waiting.edeks, keys):
                return
        key: ValueKey | CmkError | None = None
        of: bytes | None = None
        for index, edek, numbers in zip(waiting.rows, waiting.edeks, waiting.numbers, strict=True):
            if edek != of:
                raw, of = keys[edek], edek
                key = ValueKey(raw) if isinstance(raw, bytearray) else raw
            for number in numbers:
                columns[number].take(key, index, tenant, rows[index] if known else None, HEAD + len(edek))

    def first_rows(self) -> list[models.Model]:
        return [row for row in (ref() for ref in list(self._owners.values())[:FIRST]) if row is not None]

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
