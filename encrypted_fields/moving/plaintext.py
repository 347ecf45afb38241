"""`PlaintextField`: the column in clear beside an encrypted one, while the values move; it mirrors that one."""

from __future__ import annotations

from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, cast

from django.db import models
from django.db.models.expressions import Col
from django.db.models.query_utils import DeferredAttribute

from encrypted_fields.fields.sealed import Locked, Sealed
from encrypted_fields.fields.stored import Stored
from encrypted_fields.moving import DUAL, PLAINTEXT

if TYPE_CHECKING:
    from encrypted_fields.legacy import Reader
    from encrypted_fields.moving.field import MovingField

    _Field = models.Field[Any, Any]
else:
    _Field = models.Field


class _Mirror(DeferredAttribute):
    """What the encrypted field's value is in clear; nothing in the states that keep nothing in clear."""

    field: Any

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        return self if instance is None else self.field.value_of(instance)

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class PlaintextField(_Field):
    """The old column, under a name of its own: `name_plain = PlaintextField(models.CharField(…, db_column="name"))`.

    It may keep its index and its uniqueness. The column must allow NULL (`operations.EncryptField` sees to it); forms,
    the admin and fixtures do not show it. Read and write the encrypted field instead: it knows the state.
    `reader`: who wrote the column, when that was another package ("django_cryptography", …); it is then read only.
    """

    descriptor_class = _Mirror
    non_db_attrs = (*models.Field.non_db_attrs, "base", "reader")

    def __new__(cls, base_field: models.Field[Any, Any], **_: Any) -> Self:
        if not isinstance(base_field, models.Field) or isinstance(base_field, PlaintextField):
            raise TypeError(f"PlaintextField wraps a plain field such as models.TextField(), not {base_field!r}")
        if isinstance(base_field, models.FileField):
            return cast(Self, super().__new__(import_module("encrypted_fields.moving.plain_file").PlaintextFileField))
        return cast(Self, super().__new__(_class_for(cast(Any, type(base_field)))))

    def __init__(self, base_field: models.Field[Any, Any], *, reader: str | None = None) -> None:
        _, _, args, kwargs = base_field.deconstruct()
        for name in ("default", "width_field", "height_field"):
            kwargs.pop(name, None)
        self.base, self.reader = base_field, reader  # first: some constructors read `validators`
        super().__init__(*args, **{**kwargs, "null": True, "blank": True, "editable": False, "serialize": False})

    def contribute_to_class(self, cls: type[models.Model], name: str, **kwargs: Any) -> None:  # type: ignore[override]
        self.__dict__.pop("encrypted", None)
        super().contribute_to_class(cls, name, **kwargs)
        if self.column:
            setattr(cls, self.attname, _Mirror(self))

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        options = {} if self.reader is None else {"reader": self.reader}
        return self.name, "encrypted_fields.PlaintextField", [self.base], options

    @cached_property
    def encrypted(self) -> MovingField[Any, Any] | None:
        """The field whose values these are; None when no field of the model says so."""
        found: Any = (
            one for one in self.model._meta.local_concrete_fields if getattr(one, "plaintext", None) == self.name
        )
        return next(found, None)

    @cached_property
    def legacy(self) -> Reader | None:
        from encrypted_fields.legacy import reader

        return None if self.reader is None else reader(self.reader)

    def value_of(self, instance: models.Model) -> Any:
        """What belongs into this column now, beside the encrypted field's value."""
        field, data = self.encrypted, instance.__dict__
        if field is None or field.attname not in data:
            return data.get(self.attname)
        if field.state not in (PLAINTEXT, DUAL):
            return None
        value = data[field.attname]
        if isinstance(value, Stored):
            return None  # nobody here knows it
        # As it came from the database: its clear form was loaded with it, or stays as it is.
        return data.get(self.attname) if isinstance(value, Sealed | Locked) else value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        return self.value_of(model_instance)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if self.reader is not None and value is not None:
            raise TypeError(f"{self.name} was written by another package, whose ciphertext is read only")
        return super().get_db_prep_save(value, connection)

    def get_col(self, alias: Any, output_field: Any = None) -> Col:
        # typed as the inner field, so that expressions may mix it with others of that type
        return Col(alias, self, self.base)

    def get_db_converters(self, connection: Any) -> list[Any]:
        return [] if self.reader is None else [lambda value, *_: self.opened(value)]

    def opened(self, stored: Any) -> Any:
        """The value behind another package's ciphertext. InvalidCiphertext for what that package did not write."""
        assert self.legacy is not None
        inner = self.base if self.encrypted is None else self.encrypted.inner
        return None if stored is None else self.legacy.read(stored, inner)


@cache
def _class_for(base: type[models.Field[Any, Any]]) -> type[PlaintextField]:
    return type(f"Plaintext{base.__name__}", (PlaintextField, base), {"__module__": __name__})
