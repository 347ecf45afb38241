"""`EncryptedFileField`: files sealed on their way to any Storage, opened chunk by chunk, never whole in memory."""

from __future__ import annotations

import os
import posixpath
import secrets
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, cast

from django.core.exceptions import SuspiciousFileOperation
from django.db import models
from django.db.models.fields.files import FileDescriptor

from encrypted_fields.fields.binding import Binding, vars_of
from encrypted_fields.fields.fieldfile import EncryptedFieldFile
from encrypted_fields.fields.file_checks import problems
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
    Options as for EncryptedField: `tenant_from`, `field_id`, `model_id`, `bind_row`, `label`.
    """

    attr_class = EncryptedFieldFile
    descriptor_class = EncryptedFileDescriptor
    _OPTIONS = ("field_id", "model_id", "tenant_from", "bind_row", "label", "private_names", "unused", "url_from")
    non_db_attrs = (*models.FileField.non_db_attrs, *_OPTIONS)

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
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.field_id, self.model_id, self.tenant_from, self.bind_row = field_id, model_id, tenant_from, bind_row
        self.label = label
        self.private_names, self.unused, self.url_from = private_names, unused, url_from

    def contribute_to_class(self, cls: type[models.Model], name: str, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("binding", None)
        super().contribute_to_class(cls, name, *args, **kwargs)
        if self.column:
            setattr(cls, self.attname, self.descriptor_class(self))
        if self.unused == "delete" and not cls._meta.abstract and cls.__module__ != "__fake__":
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
            return self._fitting(super().generate_filename(instance, secrets.token_hex(16)), "")
        return self._fitting(super().generate_filename(instance, filename), f"_{secrets.token_hex(8)}")

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        file = super().pre_save(model_instance, add)
        if file and (add or file._by_hand):
            file.check_place()
            file._by_hand = False
        return file

    def _fitting(self, name: str, token: str) -> str:
        folder, base = posixpath.split(name)
        root, ext = os.path.splitext(base)
        room = (self.max_length or len(name) + len(token)) - len(posixpath.join(folder, token + ext))
        if room < (len(root) if not token else 1):
            raise SuspiciousFileOperation(
                f"{self.name}: max_length={self.max_length} is too short for a fresh name in {folder!r}"
            )
        return posixpath.join(folder, root[:room] + token + ext)
