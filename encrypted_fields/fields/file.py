"""`EncryptedFileField`: files sealed on their way to any Storage, opened chunk by chunk, never whole in memory."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any, Literal, Self, cast

from django.db import models
from django.db.models.fields.files import FileDescriptor

from encrypted_fields.fields.binding import Binding, vars_of
from encrypted_fields.fields.fieldfile import EncryptedFieldFile
from encrypted_fields.fields.file_checks import problems
from encrypted_fields.fields.names import with_token
from encrypted_fields.fields.unchanged import Unchanged, remember_saved
from encrypted_fields.fields.unused import remove_unused


class EncryptedFileDescriptor(FileDescriptor):
    """A file of another row is sealed anew for this one; a name that is assigned by hand is checked when saved."""

    field: Any

    def __set__(self, instance: Any, value: Any) -> None:
        field = self.field
        if isinstance(value, EncryptedFieldFile):
            if value and value._committed and (value.instance is not instance or value.field is not field):
                value = value.copied_to(instance, field)
        elif type(value) is str and value and not instance._state.adding:
            known = instance.__dict__.get(field.attname)
            if str(known or "") != value:
                value = field.attr_class(instance, field, value)
                value._by_hand = True
        super().__set__(instance, value)


class EncryptedFileField(models.FileField):
    """A FileField whose files are sealed for tenant, model, field and, when its key is client-made, row.

    `url` leads to the sealed bytes unless `url_from` (an attribute, a method or a function of the row) names the page
    that serves the opened file with `encrypted_fields.http.encrypted_response`.
    `private_names`: stored under a random name; the name that the file came with lies sealed inside it.
    `unused`: "keep" or "delete" a stored file when its row was deleted or has another, after the commit.
    `plaintext`, `state`: the field that names the files in clear while they move, and how far they are: docs/moving.md
    Options as for EncryptedField: `tenant_from`, `field_id`, `model_id`, `bind_row`, `label`.
    """

    cmk_file = True  # sealed under a tenant's key: what the commands of a move go through

    attr_class = EncryptedFieldFile
    descriptor_class = EncryptedFileDescriptor
    _OPTIONS = (
        "field_id", "model_id", "tenant_from", "bind_row", "label", "private_names", "unused", "url_from", "plaintext",
        "state",
    )  # fmt: skip
    non_db_attrs = (*models.FileField.non_db_attrs, *_OPTIONS)

    def __new__(cls, *_: Any, **options: Any) -> Self:
        if (options.get("plaintext"), options.get("state")) == (None, None):
            return super().__new__(cls)
        return cast(Self, super().__new__(import_module("encrypted_fields.moving.file_field").class_for(cls)))

    def __init__(
        self,
        *args: Any,
        field_id: str | None = None,
        model_id: str | None = None,
        tenant_from: str | Callable[[Any], object] | None = None,
        bind_row: bool | None = None,
        label: str | None = None,
        private_names: bool = False,
        unused: Literal["keep", "delete"] = "keep",
        url_from: str | Callable[[Any], str] | None = None,
        plaintext: str | None = None,
        state: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.field_id, self.model_id, self.tenant_from, self.bind_row = field_id, model_id, tenant_from, bind_row
        self.label = label
        self.private_names, self.unused, self.url_from = private_names, unused, url_from
        self.plaintext, self.state = plaintext, state

    def contribute_to_class(self, cls: type[models.Model], name: str, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("binding", None)
        super().contribute_to_class(cls, name, *args, **kwargs)
        if self.column:
            setattr(cls, self.attname, self.descriptor_class(self))
        if not cls._meta.abstract and cls.__module__ != "__fake__":
            remember_saved(cls, self)
            if self.unused == "delete" and self.state is None:
                remove_unused(cls, self)

    @cached_property
    def binding(self) -> Binding:
        return Binding(cast(Any, self))

    def check(self, **kwargs: Any) -> list[Any]:
        return [*super().check(**kwargs), *problems(self)]

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        model = getattr(self, "model", None)
        options = {option: getattr(self, option) for option in self._OPTIONS}
        options["model_id"] = self.model_id or getattr(model, "cmk_model_id", None)
        options["tenant_from"] = self.tenant_from or (None if model is None else vars_of(model, "cmk_tenant_from"))
        left_out = {"private_names": False, "unused": "keep"}
        kwargs |= {option: value for option, value in options.items() if value != left_out.get(option)}
        if path.startswith("encrypted_fields.fields."):
            path = f"encrypted_fields.{path.rpartition('.')[2]}"
        return name, path, args, kwargs

    def generate_filename(self, instance: models.Model, filename: Any) -> str:
        """Always a name that nothing was ever stored under: a Storage that overwrites (S3) must not touch the old file
        before the row says so."""
        if self.private_names:
            return with_token(self, super().generate_filename(instance, secrets.token_hex(16)), "")
        return with_token(self, super().generate_filename(instance, filename), f"_{secrets.token_hex(8)}")

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        file = super().pre_save(model_instance, add)
        if file and (add or file._by_hand):
            file.check_place()
            file._by_hand = False
            file._assigned = True
        return Unchanged(self, file) if file and not add and file.unchanged else file

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return value if isinstance(value, Unchanged) else super().get_db_prep_save(value, connection)
