"""`ClientSealedFileField`: a file that the browser sealed to its recipients, stored as it came, under a random name."""

from __future__ import annotations

from functools import cached_property
from typing import Any, BinaryIO, cast

from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.db import models

from encrypted_fields.core.client_sealed import FILE, Shape, shape_of_file
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.fields.client_sealed import Placed
from encrypted_fields.fields.fieldfile import EncryptedFieldFile
from encrypted_fields.fields.file import EncryptedFileField
from encrypted_fields.recipients import Source, recipients_of


class Taken(File):  # type: ignore[type-arg]
    """An upload that tells whether the Storage read it to its end."""

    def __init__(self, source: Any) -> None:
        super().__init__(source, "sealed")
        self._whole: int = source.size
        self._read_on = source.read
        self.finished = False

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._read_on(size)
        self.finished = self.tell() >= self._whole
        return data


class ClientSealedFieldFile(EncryptedFieldFile):
    """`open` and `size` are of the sealed bytes: serve them as they are, the recipient's browser opens them."""

    locked = False  # no key of the tenant is in play

    @property
    def shape(self) -> Shape:
        """Recipients and size of the content, read from the stored file's start."""
        with self._open_stored() as file:
            return shape_of_file(file, file.size)

    @property
    def original_name(self) -> str:
        """The real one is sealed; this is for a download."""
        return "sealed"

    def copied_to(self, instance: models.Model, field: Any) -> Any:
        found = super().copied_to(instance, field)
        if isinstance(found, str):
            return found
        raise ValueError(
            "a file that was sealed in the browser cannot be carried to another row: nobody here can open it"
        )

    def check_place(self) -> None:
        """Nobody here can tell for which row it was sealed: the recipient's browser refuses a moved one."""
        self.shape  # noqa: B018 - there, and of the right shape

    def _seal(self, name: str, content: Any) -> None:
        problem = self.field.problem(content)
        if problem:
            raise ValueError(f"{self.field.model._meta.label}.{self.field.name}: {problem}")
        self.name = self._stored(self.field.generate_filename(self.instance, "sealed"), cast(Any, Taken(content)))
        self.__dict__.pop("_file", None)
        self._committed, self._by_hand, self._assigned = True, False, True
        self._set_instance_attribute(self.name, content)

    def _open_stored(self) -> Any:
        opened = self.storage.open(str(self.name), "rb")
        # as of an opened file of ours: what encrypted_response makes name and tag of
        opened.original_name, opened.salt = "sealed", str(self.name).encode()
        return opened


class ClientSealedFileField(Placed, EncryptedFileField):
    """A file sealed by the browser to `recipients`. `max_size`: bytes of content. The other options are those of
    EncryptedFileField; the name is always private."""

    cmk_file = False
    attr_class = ClientSealedFieldFile
    description = "File sealed in the browser"

    def __init__(
        self, *args: Any, recipients: Source = "", max_size: int = 20_000_000, private_names: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, private_names=True, **kwargs)
        self.recipients, self.max_size = recipients, max_size

    def contribute_to_class(self, cls: type[models.Model], name: str, *args: Any, **kwargs: Any) -> None:
        super().contribute_to_class(cls, name, *args, **kwargs)
        self.add_to(cls)

    def check(self, **kwargs: Any) -> list[Any]:
        from encrypted_fields.fields.client_checks import problems

        return [*super().check(**kwargs), *problems(self)]

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("private_names", None)
        kwargs |= self.given() | ({} if self.max_size == 20_000_000 else {"max_size": self.max_size})
        return name, path, args, kwargs

    @cached_property
    def validators(self) -> list[Any]:
        return [*super().validators, self._check_upload]

    def _check_upload(self, value: Any) -> None:
        """For full_clean and for serializers."""
        problem = "" if getattr(value, "_committed", False) else self.problem(value)
        if problem:
            raise ValidationError(problem, code="not_sealed")

    def problem(self, content: Any) -> str:
        """Why an upload is not taken; empty when it is."""
        try:
            shape = shape_of_file(cast(BinaryIO, content), content.size)
        except InvalidCiphertext:
            return "This was not sealed in the browser."
        if shape.kind != FILE:
            return "This was not sealed in the browser as a file."
        return f"This is longer than {self.max_size} bytes." if shape.size > self.max_size else ""

    def formfield(self, **kwargs: Any) -> Any:
        from encrypted_fields.sealed_forms import ClientSealedFormFileField, without_named_input

        kwargs = without_named_input(kwargs)
        return super().formfield(**{"form_class": ClientSealedFormFileField, "sealed": self, **kwargs})

    def recipients_of(self, instance: models.Model) -> list[Any]:
        return recipients_of(self.recipients, instance)
