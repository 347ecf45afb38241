"""`ClientSealedField`: text that the browser sealed to its recipients. The server stores what it cannot read."""

from __future__ import annotations

import base64
import binascii
from functools import cached_property, partialmethod
from typing import Any, Self, cast

from django.core.exceptions import ValidationError
from django.db import models

from encrypted_fields.core.client_sealed import TEXT, Shape, shape_of
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.fields.binding import Binding, row_bytes, vars_of
from encrypted_fields.recipients import Source, recipients_of

LABEL = "cmk/client/1"


class ClientSealed(bytes):
    """The sealed bytes. Only a recipient's browser opens them."""

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Of bytes or base64. InvalidCiphertext for what no browser of ours made: never a plaintext by mistake."""
        if isinstance(value, str):
            try:
                value = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                value = b""
        made = cls(value)
        if made.shape.kind != TEXT:
            raise InvalidCiphertext
        return made

    @cached_property
    def shape(self) -> Shape:
        return shape_of(self)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Their key ids."""
        return self.shape.recipients

    @property
    def base64(self) -> str:
        return base64.b64encode(self).decode()

    def __str__(self) -> str:
        return sentence(len(self.recipients))

    def __repr__(self) -> str:
        return f"<ClientSealed for {len(self.recipients)}>"


def sentence(count: int) -> str:
    return f"sealed in the browser for {count} recipient{'' if count == 1 else 's'}"


class Placed:
    """What both sealed kinds share: whose keys, and the place that the content is bound to."""

    _PLACED = ("recipients", "field_id", "model_id", "tenant_from", "bind_row")
    recipients: Source
    field_id: str | None
    model_id: str | None
    tenant_from: Any
    bind_row: bool | None

    @cached_property
    def binding(self) -> Binding:
        return Binding(cast(Any, self))

    def place(self, instance: models.Model, *, bound: bool) -> str:
        """Base64 of the associated data: tenant and row are the row's own, never the context's, so that it is the same
        whoever asks."""
        binding = self.binding
        row = row_bytes(binding.pk, instance.pk) if bound else None
        context = ValueContext(binding.own_tenant(instance) or "", binding.model_id, binding.field_id, row)
        return base64.b64encode(context.aad(LABEL)).decode()

    def place_of(self, instance: models.Model) -> str:
        """Where what the row holds was sealed; empty when it holds nothing."""
        value = getattr(instance, cast(Any, self).attname)
        return self.place(instance, bound=value.shape.bound) if value else ""

    def add_to(self, model: type[models.Model]) -> None:
        """`get_FIELD_place()` for templates."""
        self.__dict__.pop("binding", None)
        setattr(model, f"get_{cast(Any, self).name}_place", partialmethod(lambda row, field: field.place_of(row), self))

    def given(self) -> dict[str, Any]:
        """The options as migrations keep them."""
        model = getattr(self, "model", None)
        found = {option: getattr(self, option) for option in self._PLACED}
        found["model_id"] = self.model_id or getattr(model, "cmk_model_id", None)
        found["tenant_from"] = self.tenant_from or (None if model is None else vars_of(model, "cmk_tenant_from"))
        return {option: value for option, value in found.items() if value is not None}

    def refusal(self, shape: Shape) -> str:
        """Why a new value is not taken; empty when it is."""
        if self.bind_row and not shape.bound:
            return "It was sealed before its row existed. Save the row first, then seal."
        return ""


class ClientSealedField(Placed, models.BinaryField):  # type: ignore[type-arg]
    """Text sealed by the browser to `recipients`: an attribute, method or function of the row that gives `Recipient`s.

    The value is `ClientSealed`; bytes of any other shape are refused, so that no plaintext is stored by mistake.
    `max_size`: bytes of text. `bind_row=True` takes only what was sealed for its very row, which must exist before.
    `tenant_from`, `field_id` and `model_id` name the place, as for EncryptedField; no key of the tenant is used.
    """

    description = "Sealed in the browser"
    empty_values = (None, b"", "")

    def __init__(
        self,
        *args: Any,
        recipients: Source = "",
        max_size: int = 65_536,
        field_id: str | None = None,
        model_id: str | None = None,
        tenant_from: Any = None,
        bind_row: bool | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("editable", True)
        super().__init__(*args, **kwargs)
        self.recipients, self.max_size, self.bind_row = recipients, max_size, bind_row
        self.field_id, self.model_id, self.tenant_from = field_id, model_id, tenant_from

    def contribute_to_class(self, cls: type[models.Model], name: str, *args: Any, **kwargs: Any) -> None:
        super().contribute_to_class(cls, name, *args, **kwargs)
        self.add_to(cls)

    def check(self, **kwargs: Any) -> list[Any]:
        from encrypted_fields.fields.client_checks import problems

        return [*super().check(**kwargs), *problems(self)]

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        kwargs.pop("editable", None)
        kwargs |= self.given() | ({} if self.max_size == 65_536 else {"max_size": self.max_size})
        return name, "encrypted_fields.ClientSealedField", args, kwargs | ({} if self.editable else {"editable": False})

    def from_db_value(self, value: Any, *_: Any) -> ClientSealed | None:
        return None if value is None else ClientSealed(value)

    def to_python(self, value: Any) -> ClientSealed | None:
        if value is None or value in self.empty_values or isinstance(value, ClientSealed):
            return value or None
        try:
            return ClientSealed.parse(value)
        except InvalidCiphertext:
            pass
        raise ValidationError("This was not sealed in the browser.", code="not_sealed")

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        super().validate(value, model_instance)
        if value and value.shape.size > self.max_size + 64:
            raise ValidationError("This is longer than %(most)s bytes.", "too_long", {"most": self.max_size})

    def get_prep_value(self, value: Any) -> Any:
        if value is None or hasattr(value, "as_sql"):
            return value
        try:
            return bytes(ClientSealed.parse(value))
        except (InvalidCiphertext, TypeError):
            pass
        raise ValueError(f"{self.model._meta.label}.{self.name} takes only what a browser sealed, never a plaintext")

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(base64.b64encode(value).decode())

    def formfield(self, **kwargs: Any) -> Any:
        from encrypted_fields.sealed_forms import ClientSealedFormField, without_named_input

        kwargs = without_named_input(kwargs)
        kwargs.pop("max_length", None)
        return models.Field.formfield(self, **{"form_class": ClientSealedFormField, "sealed": self, **kwargs})

    def recipients_of(self, instance: models.Model) -> list[Any]:
        return recipients_of(self.recipients, instance)
