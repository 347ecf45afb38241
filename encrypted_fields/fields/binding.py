"""What a stored value is bound to: tenant, model, field and, when the primary key is client-made, the row."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.core.signals import setting_changed
from django.db import models

from encrypted_fields.conf import default_tenant_from
from encrypted_fields.core.aead import OVERHEAD, ValueKey
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.envelope import HEAD, MAGIC, MAX_EDEK, VERSION
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.tenancy import agreed, tenant_name

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField

_FREE, _BOUND = MAGIC + bytes([VERSION, 0]), MAGIC + bytes([VERSION, 1])
_UUID_ROW = (17).to_bytes(4, "big") + b"u"  # how the row's part begins for such a key


class Binding:
    """One encrypted field of one concrete model. Immutable; made once, when the model is first used.

    `tenant_column` is the attribute of this model's own table that holds the tenant, or None when the tenant comes
    by a path, a callable or the active tenant only (`tenant_from` says which). `label` is what the trail and the
    policy see.
    """

    def __init__(self, field: EncryptedField[Any, Any]) -> None:
        model = field.model
        self.model, self.pk, self.name = model, model._meta.pk, field.name
        self.model_id, self.field_id = model_id(field), field.field_id or field.name
        self.own_label: str | None = getattr(field, "label", None)  # None: shares the row's key with its like
        self.label = self.own_label or self.model_id
        self.binds_row = binds_row(field)
        self.tenant_from = _readable(model, tenant_source(field))
        self.tenant_column = _local_column(model, self.tenant_from)
        self.prefix = lru_cache(maxsize=1024)(self._prefix)  # (tenant, bound): the associated data before the row

    def shares_key_with(self, other: Binding) -> bool:
        """In one row, written by one statement."""
        return self.tenant_from == other.tenant_from and self.own_label == other.own_label

    def seal(self, plaintext: bytes, key: ValueKey, edek: bytes, tenant: str, row: bytes | None) -> bytes:
        """core.envelope.seal with the associated data prepared once per tenant; a test holds the two equal."""
        return self.heads(edek)[row is not None] + key.seal(plaintext, self._aad(tenant, row))

    def heads(self, edek: bytes) -> tuple[bytes, bytes]:
        """What a stored value begins with, up to its nonce: without its row, and bound to it."""
        if not 0 < len(edek) <= MAX_EDEK:
            raise ValueError(f"an EDEK is 1 to {MAX_EDEK} bytes long")
        sized = len(edek).to_bytes(2, "big") + edek
        return _FREE + sized, _BOUND + sized

    def open(self, stored: bytes, key: ValueKey, tenant: str, row: bytes | None) -> bytes:
        """The plaintext; InvalidCiphertext for anything that was not sealed for this place. `stored` passed `edek_of`;
        `row` is what `row_part` made of the primary key.

        A value that was sealed with its row is always opened with its row. One that was sealed without it is refused
        where the field binds rows.
        """
        bound = stored[4] == 1
        if self.binds_row and not bound:
            raise InvalidCiphertext
        aad = self.prefix(tenant, bound)
        return key.open(
            stored[HEAD + int.from_bytes(stored[5:HEAD], "big") :], aad + row if bound and row is not None else aad
        )

    def row(self, pk: object) -> bytes | None:
        """Canonical bytes of the primary key; None when this field does not bind rows."""
        return row_bytes(self.pk, pk) if self.binds_row else None

    def row_part(self, pk: object) -> bytes:
        """The row as the last part of the associated data, for a value that was sealed with its row, whatever the
        field says today."""
        if type(pk) is uuid.UUID:
            return _UUID_ROW + pk.bytes
        row = row_bytes(self.pk, pk)
        return len(row).to_bytes(4, "big") + row

    def row_parts(self, pks: Iterable[object]) -> list[bytes]:
        """`row_part` of each; empty where an outer join found no row."""
        return [
            _UUID_ROW + pk.bytes if type(pk) is uuid.UUID else b"" if pk is None else self.row_part(pk) for pk in pks
        ]

    def tenant_of(self, instance: models.Model) -> str:
        """Of the row, else the active one. NoTenant without either, TenantConflict when they differ."""
        return agreed(self.own_tenant(instance))

    def own_tenant(self, instance: models.Model) -> str | None:
        """What the row itself says; None only when the tenant comes from the context."""
        if self.tenant_from is None:
            return None
        if callable(self.tenant_from):
            return tenant_name(self.tenant_from(instance))
        value: Any = instance
        for name in (self.tenant_column or self.tenant_from).split("__"):
            value = getattr(value, name)
        return tenant_name(value)

    def tenants(self, pks: Iterable[object], using: str) -> dict[Any, Any]:
        """The rows' tenants by primary key, in one query: for a path, and for a tenant column that was not loaded."""
        if self.tenant_from is None or callable(self.tenant_from):
            return {}
        path = self.tenant_column or self.tenant_from
        rows = self.model._base_manager.using(using).filter(pk__in=[pk for pk in pks if pk is not None])
        return dict(rows.values_list("pk", path))

    def _aad(self, tenant: str, row: bytes | None) -> bytes:
        if row is None:
            return self.prefix(tenant, False)
        return self.prefix(tenant, True) + len(row).to_bytes(4, "big") + row

    def _prefix(self, tenant: str, bound: bool) -> bytes:
        if not bound:
            return _FREE + ValueContext(tenant, self.model_id, self.field_id).aad()
        # all but the last part, whose length (4 bytes of zero) and bytes follow for each row
        return _BOUND + ValueContext(tenant, self.model_id, self.field_id, b"").aad()[:-4]


def edek_of(stored: bytes) -> bytes:
    """The wrapped key inside a stored value; InvalidCiphertext unless its shape is right. As core.envelope.parse."""
    size = int.from_bytes(stored[5:HEAD], "big")
    if stored[:5] not in (_FREE, _BOUND) or not 0 < size <= MAX_EDEK or len(stored) < HEAD + size + OVERHEAD:
        raise InvalidCiphertext
    return stored[HEAD : HEAD + size]


def model_id(field: EncryptedField[Any, Any]) -> str:
    """Stable: `model_id=` of the field, `cmk_model_id` of the model, else `app_label.model_name`."""
    model = field.model
    found: str = field.model_id or getattr(model, "cmk_model_id", None) or model._meta.label_lower
    return found


def tenant_source(field: EncryptedField[Any, Any]) -> str | Callable[..., Any] | None:
    """`tenant_from=` of the field, `cmk_tenant_from` of the model, else the setting CMK_TENANT_FROM."""
    found = field.tenant_from or vars_of(field.model, "cmk_tenant_from") or default_tenant_from()
    return found.replace(".", "__") if isinstance(found, str) else found


def binds_row(field: EncryptedField[Any, Any]) -> bool:
    """`bind_row`, else when the primary key has a Python default and is therefore known before the row is."""
    if field.bind_row is not None:
        return field.bind_row
    pk = field.model._meta.pk
    return pk_is_client_made(pk) and pk.default is not models.NOT_PROVIDED


def pk_is_client_made(pk: models.Field[Any, Any]) -> bool:
    """Whether the key is known before the INSERT: not made by the database, one column."""
    made_by_database = isinstance(pk, models.AutoField | models.GeneratedField) or pk.has_db_default()
    return not made_by_database and not isinstance(pk, models.CompositePrimaryKey)


def row_bytes(pk: models.Field[Any, Any], value: object) -> bytes:
    """One letter for the type, then the value: "1" and 1 are different rows. ValueError when there is no key yet."""
    while isinstance(pk, models.ForeignKey):
        pk = pk.target_field
    if type(value) is not uuid.UUID:
        value = pk.to_python(value)
    if isinstance(value, uuid.UUID):
        return b"u" + value.bytes
    if value is None:
        raise ValueError("the row has no primary key yet, and its encrypted values are bound to it")
    if isinstance(value, int) and not isinstance(value, bool):
        return b"i%d" % value
    if isinstance(value, bytes | memoryview):
        return b"y" + bytes(value)
    return b"s" + str(value).encode()


def vars_of(model: type[models.Model], name: str) -> Any:
    # a plain function on the class must not become a method
    return next((vars(cls)[name] for cls in model.__mro__ if name in vars(cls)), None)


def _readable(model: type[models.Model], source: str | Callable[..., Any] | None) -> str | Callable[..., Any] | None:
    """A path of columns stays a path (it can be asked for in SQL); a property becomes a function of the row."""
    if isinstance(source, str):
        try:
            model._meta.get_field(source.split("__")[0])
        except FieldDoesNotExist:
            names = {field.attname for field in model._meta.concrete_fields}
            return source if source in names else attrgetter(source.replace("__", "."))
    return source


def _local_column(model: type[models.Model], source: str | Callable[..., Any] | None) -> str | None:
    for field in model._meta.local_concrete_fields:
        if isinstance(source, str) and source in (field.name, field.attname):
            return field.attname
    return None


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "CMK_TENANT_FROM":
        for model in apps.get_models():
            for field in model._meta.local_fields:
                field.__dict__.pop("binding", None)


setting_changed.connect(_forget, dispatch_uid="encrypted_fields.fields.binding")
