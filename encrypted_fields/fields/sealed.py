"""Values as they lie in the database, opened when somebody looks: one call for the rows that were read together."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from django.db import models
from django.db.models.query_utils import DeferredAttribute

from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.errors import (
    CmkError,
    InvalidCiphertext,
    InvalidEdek,
    KmsConfigDisabled,
    KmsRefused,
    KmsUnwrapFailed,
    UnknownTenant,
)
from encrypted_fields.fields.binding import Binding, edek_of
from encrypted_fields.keys import open_keys
from encrypted_fields.tenancy import agreed, current_tenant, tenant_name

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField

WITHDRAWN: Final = (KmsRefused, KmsConfigDisabled, UnknownTenant)
FORGED: Final = (KmsUnwrapFailed, InvalidEdek)


class Locked:
    """What stands where a value was, after the customer withdrew access: falsy, never the ciphertext.

    Saving the row keeps the stored bytes. `reason` is the name of the error, for the log.
    """

    __slots__ = ("reason", "sealed")

    def __init__(self, sealed: Sealed, reason: str) -> None:
        self.sealed, self.reason = sealed, reason

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "access withdrawn by the customer"

    def __repr__(self) -> str:
        return f"<Locked {self.reason}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.sealed.__reduce__()  # elsewhere and later it is asked for again


class Batch:
    """The keys of up to 1,000 rows of one query, asked for at the first look; each goes with its value's opening."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def ask(self, tenant: str, label: str) -> None:
        """Put a key, or the reason why there is none, beside each value of this tenant that has none yet."""
        places: dict[bytes, list[tuple[Column, int]]] = {}
        for part in self.parts:
            for column in part.columns:
                part.find(column, tenant, places)
        try:
            found = open_keys(tenant, list(places), label=label)
        except WITHDRAWN as error:  # the whole request was refused: so is each key
            found = dict.fromkeys(places, error)
        for edek, key in found.items():
            for column, index in places[edek]:
                column.keys[index] = key


class Column:
    """One encrypted column of a block of rows as it came from the database, and the keys once they were asked for."""

    __slots__ = ("keys", "part", "stored")

    def __init__(self, part: Part, stored: list[Any]) -> None:
        self.part, self.stored = part, stored
        self.keys: list[ValueKey | CmkError | None] = [None] * len(stored)
        part.columns.append(self)

    def key(self, index: int, tenant: str) -> ValueKey:
        """Once: then it is gone. Raises what the proxy said about this key, or InvalidCiphertext."""
        found = self.keys[index]
        if found is None:
            edek_of(bytes(self.stored[index]))
            self.part.batch.ask(tenant, self.part.binding.model_id)
            found = self.keys[index]
        if isinstance(found, ValueKey) or (found is not None and found.retryable):
            self.keys[index] = None
        if isinstance(found, ValueKey):
            return found
        # A wrapped key that does not unwrap is forged or of another tenant: the same one error as a forged value.
        raise InvalidCiphertext if found is None or isinstance(found, FORGED) else found


class Part:
    """The encrypted columns of one model in one block of rows, with the rows' keys and tenants in parallel lists."""

    __slots__ = ("_names", "_owners", "_rows", "batch", "binding", "captured", "columns", "pks", "tenants", "using")

    def __init__(
        self, batch: Batch, binding: Binding, using: str, pks: list[Any] | None, tenants: list[Any] | None
    ) -> None:
        batch.parts.append(self)
        self.batch, self.binding, self.using = batch, binding, using
        self.pks, self.tenants = pks, tenants
        self.columns: list[Column] = []
        self.captured = current_tenant() if binding.tenant_from is None else None
        self._names: list[str] | None = None
        self._rows: list[bytes | None] = [] if pks is None else [None] * len(pks)
        # Only a callable and raw() need the instance to know its tenant.
        self._owners: dict[int, weakref.ref[models.Model]] | None = (
            {} if callable(binding.tenant_from) or pks is None else None
        )

    def belongs_to(self, index: int, instance: models.Model) -> None:
        if self._owners is not None:
            self._owners[index] = weakref.ref(instance)

    def tenant(self, index: int) -> str | None:
        """The row's own tenant, as loaded; None when only the context or the instance knows."""
        if self._names is not None:
            return self._names[index] or tenant_name(None)
        if self.binding.tenant_from is None:
            return self.captured
        if self.tenants is None:
            if self._owners is not None:
                owner = self._owners[index]() if index in self._owners else None
                return None if owner is None else self.binding.own_tenant(owner)
            found = self.binding.tenants(self.pks or (), self.using)
            self.tenants = [found.get(pk) for pk in self.pks or ()]
        # the rows that nobody looks at may have no tenant: that is told to whoever looks
        self._names = ["" if one is None or isinstance(one, bool) else str(one) for one in self.tenants]
        return tenant_name(self.tenants[index])

    def row(self, index: int, instance: models.Model | None) -> bytes:
        """The row's part of the associated data; made once for the fields of the row."""
        if self.pks is None:
            return self.binding.row_part(getattr(instance, self.binding.pk.attname))
        found = self._rows[index]
        if found is None:
            found = self._rows[index] = self.binding.row_part(self.pks[index])
        return found

    def find(self, column: Column, tenant: str, places: dict[bytes, list[tuple[Column, int]]]) -> None:
        """Add this column's values of one tenant to `places`, by their wrapped keys."""
        keys, names = column.keys, self._names
        for index, stored in enumerate(column.stored):
            if stored is None or keys[index] is not None:
                continue
            own = names[index] if names is not None else self.tenant(index)
            if own == tenant or (own is None and self.binding.tenant_from is None):
                try:
                    edek = edek_of(bytes(stored))
                except InvalidCiphertext:
                    continue  # whoever looks at that value is told
                places.setdefault(edek, []).append((column, index))


class Sealed:
    """One stored value: its place in a column. Lives in the instance's `__dict__` until somebody looks."""

    __slots__ = ("column", "index")

    def __init__(self, column: Column, index: int) -> None:
        self.column, self.index = column, index

    @property
    def stored(self) -> bytes:
        return bytes(self.column.stored[self.index])

    def open(self, field: EncryptedField[Any, Any], instance: models.Model | None) -> Any:
        """The value, or Locked. TenantConflict if the active tenant is another; InvalidCiphertext for forged bytes."""
        column, index, binding = self.column, self.index, field.binding
        part = column.part
        own = part.tenant(index)
        if own is None and instance is not None:
            own = binding.own_tenant(instance)
        tenant = agreed(own)
        try:
            key = column.key(index, tenant)
        except WITHDRAWN as error:
            return Locked(self, type(error).__name__)
        stored = bytes(column.stored[index])
        row = part.row(index, instance) if stored[4] == 1 else None
        return field.codec.load(binding.open(stored, key, tenant, row))

    def is_at(self, field: EncryptedField[Any, Any], instance: models.Model) -> bool | None:
        """Whether the row is still the one it was read from: then its bytes may stay. None: unknown (raw())."""
        part, binding = self.column.part, field.binding
        if part.pks is None:
            return None
        if self.stored[4:5] == b"\x01":
            now = getattr(instance, binding.pk.attname)
            if now is None or binding.row_part(now) != part.row(self.index, instance):
                return False
        if binding.tenant_from is None:
            return agreed(part.tenant(self.index)) is not None
        loaded = binding.tenant_column is None or binding.tenant_column in instance.__dict__
        return not loaded or part.tenant(self.index) == binding.tenant_of(instance)

    def __repr__(self) -> str:
        return "<Sealed>"

    def __reduce__(self) -> tuple[Any, ...]:
        part = self.column.part
        pk = None if part.pks is None else part.pks[self.index]
        tenant = part.tenants[self.index] if part.tenants is not None else part.captured
        return _revive, (self.stored, part.binding.model._meta.label, part.binding.name, part.using, pk, tenant)


class SealedAttribute(DeferredAttribute):
    """Opens at first access; what was opened stays in the instance as a plain value."""

    field: Any

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        if instance is None:
            return self
        name = self.field.attname
        data = instance.__dict__
        value = data[name] if name in data else super().__get__(instance, cls)
        if type(value) is Sealed:
            value = data[name] = value.open(self.field, instance)
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        if type(value) is Sealed:
            value.column.part.belongs_to(value.index, instance)
        instance.__dict__[self.field.attname] = value


def _revive(stored: bytes, label: str, name: str, using: str, pk: Any, tenant: str | None) -> Sealed:
    from django.apps import apps

    field: Any = apps.get_model(label)._meta.get_field(name)
    part = Part(Batch(), field.binding, using, None if pk is None else [pk], None if tenant is None else [tenant])
    if field.binding.tenant_from is None:
        part.captured = tenant
    return Sealed(Column(part, [stored]), 0)
