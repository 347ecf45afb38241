"""Values as they lie in the database, opened when somebody looks: one call for the rows that were read together."""

from __future__ import annotations

import weakref
from collections import Counter
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
    """The keys of up to 1,000 rows of one query, asked for at the first look and dropped after their last use."""

    __slots__ = ("_keys", "_uses", "parts")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._keys: dict[tuple[str, bytes], ValueKey | CmkError] = {}
        self._uses: Counter[tuple[str, bytes]] = Counter()

    def key(self, tenant: str, edek: bytes, label: str) -> ValueKey:
        """Raises what the proxy said about this key."""
        name = (tenant, edek)
        found = self._keys.get(name)
        if found is None:
            self._ask(tenant, edek, label)
            found = self._keys[name]
        if isinstance(found, CmkError):
            if found.retryable:
                del self._keys[name]
            raise _plain(found)
        self._uses[name] -= 1
        if self._uses[name] <= 0:
            del self._keys[name], self._uses[name]
        return found

    def _ask(self, tenant: str, edek: bytes, label: str) -> None:
        uses = Counter([edek])
        for part in self.parts:
            uses.update(part.edeks_of(tenant))
        if uses[edek] > 1:
            uses[edek] -= 1  # it was counted for itself and as one of its batch
        wanted = [one for one in uses if (tenant, one) not in self._keys]
        try:
            found = open_keys(tenant, wanted, label=label)
        except WITHDRAWN as error:  # the whole request was refused: so is each key
            found = dict.fromkeys(wanted, error)
        for one, key in found.items():
            self._keys[tenant, one] = key
            self._uses[tenant, one] = uses[one]


class Part:
    """The encrypted columns of one model in one block of rows: parallel lists, as they came from the database."""

    __slots__ = ("_owners", "batch", "binding", "captured", "columns", "pks", "tenants", "using")

    def __init__(
        self, batch: Batch, binding: Binding, using: str, pks: list[Any] | None, tenants: list[Any] | None
    ) -> None:
        batch.parts.append(self)
        self.batch, self.binding, self.using = batch, binding, using
        self.pks, self.tenants = pks, tenants
        self.columns: list[list[Any]] = []
        self.captured = current_tenant() if binding.tenant_from is None else None
        # Only a callable and raw() need the instance to know its tenant.
        self._owners: dict[int, weakref.ref[models.Model]] | None = (
            {} if callable(binding.tenant_from) or pks is None else None
        )

    def belongs_to(self, index: int, instance: models.Model) -> None:
        if self._owners is not None:
            self._owners[index] = weakref.ref(instance)

    def tenant(self, index: int) -> str | None:
        """The row's own tenant, as loaded; None when only the context knows."""
        if self.binding.tenant_from is None:
            return self.captured
        if self.tenants is not None:
            return tenant_name(self.tenants[index])
        if self._owners is not None:
            owner = self._owners[index]() if index in self._owners else None
            return None if owner is None else self.binding.own_tenant(owner)
        found = self.binding.tenants(self.pks or (), self.using)
        self.tenants = [found.get(pk) for pk in self.pks or ()]
        return tenant_name(self.tenants[index])

    def edeks_of(self, tenant: str) -> list[bytes]:
        """Of this part's values, those of one tenant."""
        found = []
        for column in self.columns:
            for index, stored in enumerate(column):
                if stored is not None and self._is_of(index, tenant):
                    try:
                        found.append(edek_of(bytes(stored)))
                    except InvalidCiphertext:
                        continue  # whoever looks at that value is told
        return found

    def _is_of(self, index: int, tenant: str) -> bool:
        if self.tenants is not None:
            return str(self.tenants[index]) == tenant
        own = self.tenant(index)
        return own == tenant or (own is None and self.binding.tenant_from is None)


class Sealed:
    """One stored value with its place in the batch. Lives in the instance's `__dict__` until somebody looks."""

    __slots__ = ("index", "part", "stored")

    def __init__(self, stored: Any, part: Part, index: int) -> None:
        self.stored, self.part, self.index = stored, part, index

    def open(self, field: EncryptedField[Any, Any], instance: models.Model | None) -> Any:
        """The value, or Locked. TenantConflict if the active tenant is another; InvalidCiphertext for forged bytes."""
        stored, part, binding = bytes(self.stored), self.part, field.binding
        edek = edek_of(stored)
        own = part.tenant(self.index)
        if own is None and instance is not None:
            own = binding.own_tenant(instance)
        tenant = agreed(own)
        row = None
        if stored[4] == 1:
            pk = part.pks[self.index] if part.pks is not None else getattr(instance, binding.pk.attname)
            row = binding.row_always(pk)
        try:
            key = part.batch.key(tenant, edek, binding.model_id)
        except WITHDRAWN as error:
            return Locked(self, type(error).__name__)
        return field.codec.load(binding.open(stored, key, tenant, row))

    def is_at(self, field: EncryptedField[Any, Any], instance: models.Model) -> bool | None:
        """Whether the row is still the one it was read from: then its bytes may stay. None: unknown (raw())."""
        part, binding = self.part, field.binding
        if part.pks is None:
            return None
        if bytes(self.stored[4:5]) == b"\x01":
            now = getattr(instance, binding.pk.attname)
            if now is None or binding.row_always(now) != binding.row_always(part.pks[self.index]):
                return False
        loaded = binding.tenant_column is None or binding.tenant_column in instance.__dict__
        if binding.tenant_from is None:
            return agreed(part.tenant(self.index)) is not None
        return not loaded or part.tenant(self.index) == binding.tenant_of(instance)

    def __repr__(self) -> str:
        return "<Sealed>"

    def __reduce__(self) -> tuple[Any, ...]:
        part = self.part
        pk = None if part.pks is None else part.pks[self.index]
        tenant = part.tenants[self.index] if part.tenants is not None else part.captured
        return _revive, (bytes(self.stored), part.binding.model._meta.label, part.binding.name, part.using, pk, tenant)


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
            value.part.belongs_to(value.index, instance)
        instance.__dict__[self.field.attname] = value


def _plain(error: CmkError) -> CmkError:
    # A wrapped key that does not unwrap is forged or of another tenant: the same one error as a forged value.
    return InvalidCiphertext() if isinstance(error, FORGED) else error


def _revive(stored: bytes, label: str, name: str, using: str, pk: Any, tenant: str | None) -> Sealed:
    from django.apps import apps

    field: Any = apps.get_model(label)._meta.get_field(name)
    part = Part(Batch(), field.binding, using, None if pk is None else [pk], None if tenant is None else [tenant])
    if field.binding.tenant_from is None:
        part.captured = tenant
    part.columns.append([stored])
    return Sealed(stored, part, 0)
