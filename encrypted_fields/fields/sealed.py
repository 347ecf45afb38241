"""Values as they lie in the database, opened when somebody looks: one call for the rows that were read together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import pre_init

from encrypted_fields.core.errors import WITHDRAWN
from encrypted_fields.fields.blocks import Batch
from encrypted_fields.fields.parts import FIRST, TAKEN, Column, Part, Place
from encrypted_fields.tenancy import agreed, current_tenant

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField


class Locked:
    """What stands where a value was, after the customer withdrew access: falsy, never the ciphertext.

    Saving the row keeps the stored bytes. `reason` is the name of the error, for the log; `omitted` whether the field
    is to be left out where that can be done.
    """

    __slots__ = ("omitted", "reason", "sealed")

    def __init__(self, sealed: Sealed, reason: str, *, omitted: bool = False) -> None:
        self.sealed, self.reason, self.omitted = sealed, reason, omitted

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "access withdrawn by the customer"

    def __repr__(self) -> str:
        return f"<Locked {self.reason}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.sealed.__reduce__()  # elsewhere and later it is asked for again


class Sealed(Place):
    """The encrypted values of one row of one table. Stands in the instance's `__dict__` for each of them until somebody
    looks at it."""

    __slots__ = ()

    def stored(self, field: EncryptedField[Any, Any]) -> bytes:
        found = self.part.columns[field.attname].stored[self.index]
        if found is None:
            raise ValueError(f"{field.name} is NULL in this row")
        return found

    def open(self, field: EncryptedField[Any, Any], instance: models.Model | None) -> Any:
        """The value, or Locked. TenantConflict if the active tenant is another; InvalidCiphertext for forged bytes."""
        part, index = self.part, self.index
        column = part.columns[field.attname]
        own = part.tenant(index)
        if own is None and instance is not None:
            own = field.binding.own_tenant(instance)
        try:
            value = part.open(column, index, agreed(own), instance)
        except WITHDRAWN as error:
            if field.on_locked == "raise":
                raise
            return Locked(self, type(error).__name__, omitted=field.on_locked == "omit")
        return value if type(value) is str else field.codec.load(value)

    def all_texts(self, field: EncryptedField[Any, Any]) -> list[str] | None:
        """The values of all rows of the block, when they open together as texts that whoever is active may read; None
        when they have to be looked at one by one."""
        part, column = self.part, self.part.columns[field.attname]
        part.fetch(column, self.index, agreed(part.tenant(self.index)), None)
        owners = {part.captured} if part.names is None else set(part.names)
        active = current_tenant()
        if not all(owners) or (active is not None and owners != {active}) or set(map(type, column.opened)) != {str}:
            return None
        return column.opened

    def is_at(self, field: EncryptedField[Any, Any], instance: models.Model) -> bool | None:
        """Whether the row is still the one it was read from: then its bytes may stay. None: unknown (raw())."""
        part, binding = self.part, field.binding
        if part.pks is None:
            return None
        if self.stored(field)[4:5] == b"\x01":
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
        part, index = self.part, self.index
        pk = None if part.pks is None else part.pks[index]
        tenant = part.tenants[index] if part.tenants is not None else part.captured
        stored = {name: column.stored[index] for name, column in part.columns.items()}
        return _revive, (part.binding.model._meta.label, part.using, pk, tenant, stored)


class SealedAttribute(DeferredAttribute):
    """Opens at first access; what was opened stays in the instance as a plain value."""

    field: Any

    def __init__(self, field: Any) -> None:
        super().__init__(field)
        self.attname: str = field.attname

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        if instance is None:
            return self
        data, name = instance.__dict__, self.attname
        try:
            value = data[name]
        except KeyError:
            value = super().__get__(instance, cls)
        if type(value) is not Sealed:
            return value
        # `Sealed.open` of a text that was opened with its block: the usual look, without a call
        part, index = value.part, value.index
        opened = part.columns[name].opened
        text = opened[index]
        if type(text) is str:
            own, active = part.captured if part.names is None else part.names[index], current_tenant()
            if own and (active is None or active == own):
                opened[index] = TAKEN
                data[name] = text
                return text
        value = data[name] = value.open(self.field, instance)
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        data = instance.__dict__
        data[self.attname] = value
        if type(value) is Sealed:
            part, index = value.part, value.index
            for name in part.along:
                data.setdefault(name, value)  # what somebody has set stays
            if index < FIRST or part.by_owner:
                part.belongs_to(index, instance)


def made_by_django(model: Any) -> bool:
    """Whether nobody but Django sees the values on their way from a row into an instance of this model. Then the first
    sealed value of a row is set for all of them, and for the others Django is told to set nothing: one call a row."""
    return (
        model.from_db.__func__ is models.Model.from_db.__func__  # type: ignore[attr-defined]
        and model.__init__ is models.Model.__init__
        and model.__setattr__ is models.Model.__setattr__
        and not pre_init.has_listeners(model)
    )


def _revive(label: str, using: str, pk: Any, tenant: str | None, stored: dict[str, bytes | None]) -> Sealed:
    from django.apps import apps

    fields: dict[str, Any] = {one.attname: one for one in apps.get_model(label)._meta.concrete_fields}
    columns = {name: Column(fields[name].binding, [one]) for name, one in stored.items()}
    binding = next(iter(columns.values())).binding
    tenants = None if tenant is None else [tenant]
    part = Part(Batch(), binding, using, None if pk is None else [pk], tenants, columns)
    if binding.tenant_from is None:
        part.captured = tenant
    return Sealed(part, 0)
