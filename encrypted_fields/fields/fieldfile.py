"""The file of one row: sealed when it is saved, opened chunk by chunk, never left half-written behind a row."""

from __future__ import annotations

import io
import os
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from django.core.files.base import File
from django.core.files.utils import validate_file_name
from django.db import models, router, transaction
from django.db.models.fields.files import FieldFile

from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import WITHDRAWN, CmkError, InvalidCiphertext
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.stream import CHUNK, OpeningReader, read_header
from encrypted_fields.fields.binding import Binding
from encrypted_fields.fields.names import without_token
from encrypted_fields.fields.parts import FORGED
from encrypted_fields.fields.ranged import open_stored
from encrypted_fields.fields.upload import Upload, store
from encrypted_fields.keys import new_dek, open_dek

if TYPE_CHECKING:
    _BytesFile = File[bytes]
else:
    _BytesFile = File


class EncryptedFieldFile(FieldFile):
    """The file of one row. Its `open`, `read`, `chunks` and `size` are those of the plaintext."""

    field: Any
    instance: Any
    storage: Any
    _committed: bool
    _sealed_for: ValueContext | None = None  # the place, when this object sealed the file itself
    _by_hand = False  # the name was assigned, and is not checked yet
    _assigned = False  # the name was assigned
    _saved: str | None = None  # the name that the row has since this object was saved

    def save(self, name: str, content: Any, save: bool = True) -> None:
        """Seals `content` for this row and stores it under a fresh name; then, with `save`, writes the row.

        The key comes from the proxy before anything is stored. If storing fails, what was written of it is removed,
        and row and old file are as before.
        """
        before = self.__dict__.get("_file")
        if isinstance(content, EncryptedFieldFile):  # of another row
            with content.open():
                self._seal(content.original_name, content)
        else:
            self._seal(name, content)
        if isinstance(before, Opened):
            before.close()
        if save:
            self.instance.save()

    setattr(save, "alters_data", True)  # noqa: B010 - templates must not call it

    def reseal(self, save: bool = True) -> None:
        """The same content under a new key and a new name, as after a change of the tenant's primary key service."""
        _require(self)
        self.save(self.original_name, type(self)(self.instance, self.field, self.name), save)

    setattr(reseal, "alters_data", True)  # noqa: B010

    def delete(self, save: bool = True) -> None:
        """Empties the field, with `save` in the database too; the stored file goes when that is committed."""
        if not self:
            return
        name, stored = str(self.name), self._committed
        using = self.instance._state.db or router.db_for_write(type(self.instance))
        self.close()
        self.__dict__.pop("_file", None)
        self.name, self._committed = None, False
        setattr(self.instance, self.field.attname, None)
        if save:
            self.instance.save()
        if stored:
            transaction.on_commit(partial(self.storage.delete, name), using=using)

    setattr(delete, "alters_data", True)  # noqa: B010

    @property
    def unchanged(self) -> bool:
        """Whether it is the stored file that the row was loaded with, or was saved with since."""
        loaded = self._sealed_for is None and not self._assigned
        known = self._committed and not self._by_hand and (loaded or self.name == self._saved)
        return known and not self.instance._state.adding

    @property
    def locked(self) -> bool:
        """Whether the customer withdrew access. Asks the proxy; False where there is no stored file."""
        if not self or not self._committed:
            return False
        try:
            self._open_stored().close()
        except WITHDRAWN:
            return True
        return False

    @property
    def size(self) -> int:
        """Bytes of plaintext: of the upload, or as authenticated in the stored file."""
        _require(self)
        opened = self.__dict__.get("_file")
        if not self._committed or (isinstance(opened, Opened) and not opened.closed):
            return int(self.file.size)
        with self._open_stored() as file:
            return int(file.size)

    @property
    def url(self) -> str:
        """What `url_from` of the field says, else the Storage's own address, which leads to the sealed bytes."""
        _require(self)
        source = self.field.url_from
        if source is None:
            return str(self.storage.url(self.name))
        found = source(self.instance) if callable(source) else getattr(self.instance, source)
        return str(found() if callable(found) else found)

    @property
    def original_name(self) -> str:
        """The name that the file came with. With `private_names` it lies sealed in the file: this asks the proxy, and
        raises the refusal when access was withdrawn."""
        _require(self)
        if not self._committed or not self.field.private_names:
            return without_token(str(self.name))
        opened = self.__dict__.get("_file")
        if isinstance(opened, Opened) and not opened.closed:
            return opened.original_name
        with self._open_stored() as file:
            return file.original_name

    def open(self, mode: str | None = "rb", *_: Any, **__: Any) -> Self:
        """The plaintext, seekable. KmsRefused and its like when access was withdrawn; InvalidCiphertext for a file that
        was cut, extended, spliced or moved."""
        if mode != "rb":
            raise ValueError("an encrypted file is opened for reading bytes; save() replaces it")
        _require(self)
        file = self.__dict__.get("_file")
        if not self._committed and file is not None:
            file.open()
        elif file is None or file.closed:
            self._file: Any = self._open_stored()
        else:
            file.seek(0)
        return self

    def check_place(self) -> None:
        """ValueError unless the stored file was sealed for this row: a name alone must not be carried to another.

        Asks the proxy, and raises its refusal.
        """
        if self._sealed_for is not None and self._sealed_for == self._context():
            return
        failed = False
        try:
            self._open_stored().close()
        except InvalidCiphertext:
            failed = True
        if failed:
            raise ValueError(
                f"{self.field.model._meta.label}.{self.field.name}: the stored file was sealed for another place. "
                "Assign the file itself (copy.file = original.file), which seals it anew"
            )

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "_assigned": not self.unchanged, "_by_hand": self._by_hand}

    def copied_to(self, instance: models.Model, field: Any) -> Any:
        """What to put into `field` of `instance` when this stored file is assigned to it: an upload of its plaintext,
        which is opened when it is saved; only the name if it is the same row."""
        mine = self.instance
        same = mine._meta.concrete_model is instance._meta.concrete_model and field.name == self.field.name
        if same and mine.pk is not None and mine.pk == instance.pk:
            return self.name
        made = field.attr_class(instance, field, os.path.basename(str(self.name)))
        made.file, made._committed = type(self)(mine, self.field, self.name), False
        return made

    def _seal(self, name: str, content: Any) -> None:
        context, binding = self._context(), self.field.binding
        about = None if context.row is None else str(getattr(self.instance, binding.pk.attname))
        dek, edek = new_dek(context.tenant, label=binding.label, object_id=about)
        try:
            upload = Upload(content, dek, edek, context, os.path.basename(name) if self.field.private_names else None)
        finally:
            wipe(dek)
        self.name = self._stored(self.field.generate_filename(self.instance, name), upload)
        self.__dict__.pop("_file", None)  # the next read opens what was stored
        self._committed, self._sealed_for, self._by_hand = True, context, False
        self._set_instance_attribute(self.name, content)

    def _stored(self, name: str, upload: Any) -> str:
        return store(self.storage, name, upload, self.field.max_length)

    def _set_instance_attribute(self, name: str | None, content: Any) -> None:
        self.instance.__dict__[self.field.attname] = self

    def _get_file(self) -> Any:
        _require(self)
        if getattr(self, "_file", None) is None:
            self._file = self._open_stored()
        return self._file

    def _set_file(self, file: Any) -> None:
        self._file = file

    def _del_file(self) -> None:
        del self._file

    file = property(_get_file, _set_file, _del_file)

    def _open_stored(self) -> Opened:
        stored = open_stored(self.storage, str(self.name))
        failure: CmkError | None = None
        try:
            context = self._context()
            header = read_header(stored)
            dek = open_dek(context.tenant, header.edek, label=self.field.binding.label)
            try:
                return Opened(OpeningReader(stored, dek, context), stored, self.name)
            finally:
                wipe(dek)
        except FORGED:
            failure = InvalidCiphertext()
        except BaseException:
            stored.close()
            raise
        stored.close()
        raise failure

    def _context(self) -> ValueContext:
        binding: Binding = self.field.binding
        row = binding.row(getattr(self.instance, binding.pk.attname))
        return ValueContext(binding.tenant_of(self.instance), binding.model_id, binding.field_id, row)


class Opened(_BytesFile):
    """An opened file that knows its length and name, and closes the stored one with itself.

    `salt`: 16 bytes that differ for each sealing. `original_name`: as sealed in the file, else the stored name's end.
    """

    def __init__(self, reader: OpeningReader, stored: BinaryIO, name: str | None) -> None:
        super().__init__(cast(Any, io.BufferedReader(reader, CHUNK)), os.path.basename(name or ""))
        self.mode = "rb"
        self.salt = reader.salt
        self.original_name = _safe(reader.name) or without_token(name or "")
        self._size, self._stored = reader.size, stored

    @property
    def size(self) -> int:
        return self._size

    def close(self) -> None:
        super().close()
        self._stored.close()


def _safe(name: str | None) -> str:
    return "" if name is None else str(validate_file_name(os.path.basename(name) or "file"))


def _require(file: Any) -> None:
    file._require_file()
