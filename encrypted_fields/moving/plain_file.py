"""The names of files in clear, beside those of sealed ones: `scan_plain = PlaintextField(models.FileField(…))`."""

from __future__ import annotations

import secrets
from typing import Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute

from encrypted_fields.fields.names import with_token
from encrypted_fields.moving.plaintext import PlaintextField


class PlaintextFileField(PlaintextField, models.FileField):
    """Made by `PlaintextField(models.FileField(…))`, and of an ImageField as well. The attribute is a name, or None."""

    descriptor_class = DeferredAttribute  # type: ignore[assignment] # Django's own is a subclass of it

    def __init__(self, base_field: models.Field[Any, Any], *, reader: str | None = None) -> None:
        if reader is not None:
            raise TypeError("no package's files are read: reader= is for values")
        super().__init__(base_field)

    def contribute_to_class(self, cls: type[models.Model], name: str, **kwargs: Any) -> None:  # type: ignore[override]
        super().contribute_to_class(cls, name, **kwargs)
        if self.column:
            setattr(cls, self.attname, DeferredAttribute(self))

    def value_of(self, instance: models.Model) -> Any:
        return instance.__dict__.get(self.attname)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        field: Any = self.encrypted
        return self.value_of(model_instance) if field is None else field.names(model_instance, add, self)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return value if hasattr(value, "as_sql") else super().get_db_prep_save(value, connection)

    def generate_filename(self, instance: models.Model, filename: Any) -> str:
        """A fresh name, also on a Storage that overwrites: who reads the old file must not get half of each."""
        name = super().generate_filename(instance, filename)
        return with_token(self, name, f"_{secrets.token_hex(8)}")
