"""`EncryptedFileField`: files sealed on their way to any Storage, opened chunk by chunk, never whole in memory."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from django.core.files.base import File
from django.db import models
from django.db.models.fields.files import FieldFile

from encrypted_fields.core.aead import TAG_BYTES
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.envelope import MAX_EDEK
from encrypted_fields.core.errors import WITHDRAWN, CmkError, InvalidCiphertext
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.stream import CHUNK, MAX_HEADER, OpeningReader, SealingReader, read_header
from encrypted_fields.fields.binding import Binding, vars_of
from encrypted_fields.fields.blocks import FORGED
from encrypted_fields.keys import new_dek, open_dek

if TYPE_CHECKING:
    _BytesFile = File[bytes]
else:
    _BytesFile = File


class _Upload(_BytesFile):
    """What the Storage reads: the sealed form, made while it is read. It can be read again from the start."""

    def __init__(self, source: File[Any], dek: bytearray, edek: bytes, context: ValueContext) -> None:
        self._source, self._dek, self._edek, self._context = source, dek, edek, context
        super().__init__(None, source.name)
        self._start()

    def _start(self) -> None:
        if self._source.seekable():
            self._source.seek(0)
        self.file = cast(Any, SealingReader(cast(BinaryIO, self._source), self._dek, self._edek, self._context))
        self._read = 0

    @property
    def size(self) -> int:
        plain = self._source.size
        chunks = max(1, -(-plain // CHUNK))
        return MAX_HEADER - MAX_EDEK + len(self._edek) + plain + chunks * TAG_BYTES

    def read(self, size: int = -1) -> bytes:
        data = cast(bytes, cast(Any, self.file).read(size))
        self._read += len(data)
        return data

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        self.seek(0)
        while data := self.read(chunk_size or CHUNK):
            yield data

    def multiple_chunks(self, chunk_size: int | None = None) -> bool:
        return True

    def tell(self) -> int:
        return self._read

    def seekable(self) -> bool:
        return self._source.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if (offset, whence) != (0, io.SEEK_SET) and offset + (self._read if whence == io.SEEK_CUR else 0) != self._read:
            raise io.UnsupportedOperation("a file that is being sealed is read from the start to the end")
        if (offset, whence) == (0, io.SEEK_SET) and self._read:
            self._start()  # under a new file key: no chunk is ever sealed twice with the same nonce
        return self._read


class EncryptedFieldFile(FieldFile):
    """The file of one row. Its `open`, `read`, `chunks` and `size` are those of the plaintext."""

    field: Any
    instance: Any

    def save(self, name: str, content: Any, save: bool = True) -> None:
        """Seals `content` for this row. The key comes from the proxy before anything is stored."""
        binding: Binding = self.field.binding
        context, before = self._context(), self.__dict__.get("_file")
        about = None if context.row is None else str(getattr(self.instance, binding.pk.attname))
        dek, edek = new_dek(context.tenant, label=binding.model_id, object_id=about)
        try:
            super().save(name, _Upload(content, dek, edek, context), save=False)
        finally:
            wipe(dek)
        if isinstance(before, _Opened):
            before.close()
        self.__dict__.pop("_file", None)  # the next read opens what was stored
        if save:
            self.instance.save()

    setattr(save, "alters_data", True)  # noqa: B010 - templates must not call it

    @property
    def locked(self) -> bool:
        """Whether the customer withdrew access. Asks the proxy."""
        try:
            self._open_stored().close()
        except WITHDRAWN:
            return True
        return False

    @property
    def size(self) -> int:
        """Bytes of plaintext: of the upload, or as authenticated in the stored file."""
        _require(self)
        if not cast(Any, self)._committed:
            return int(self.file.size)
        with self._open_stored() as file:
            return int(file.size)

    def open(self, mode: str | None = "rb", *_: Any, **__: Any) -> Self:
        """The plaintext, seekable. KmsRefused and its like when access was withdrawn; InvalidCiphertext for a file that
        was cut, extended, spliced or moved."""
        if mode != "rb":
            raise ValueError("an encrypted file is opened for reading bytes; save() replaces it")
        _require(self)
        if getattr(self, "_file", None) is None or self._file.closed:
            self._file: Any = self._open_stored()
        else:
            self._file.seek(0)
        return self

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

    def _open_stored(self) -> _Opened:
        stored = self.storage.open(str(self.name), "rb")
        failure: CmkError | None = None
        try:
            context = self._context()
            header = read_header(cast(BinaryIO, stored))
            dek = open_dek(context.tenant, header.edek, label=self.field.binding.model_id)
            try:
                return _Opened(OpeningReader(cast(BinaryIO, stored), dek, context), stored, self.name)
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


def _require(file: Any) -> None:
    file._require_file()


class _Opened(_BytesFile):
    """An opened file that knows its length and closes the stored one with itself."""

    def __init__(self, reader: OpeningReader, stored: Any, name: str | None) -> None:
        super().__init__(cast(Any, io.BufferedReader(reader, CHUNK)), os.path.basename(name or ""))
        self.mode = "rb"
        self._size, self._stored = reader.size, stored

    @property
    def size(self) -> int:
        return self._size

    def close(self) -> None:
        super().close()
        self._stored.close()


class EncryptedFileField(models.FileField):
    """A FileField whose files are sealed for tenant, model, field and, when its key is client-made, row.

    The name stays readable, and `url` leads to the sealed bytes: serve the opened file (FileResponse(obj.file.open())).
    Options as for EncryptedField: `tenant_from`, `field_id`, `model_id`, `bind_row`.
    """

    attr_class = EncryptedFieldFile
    non_db_attrs = (*models.FileField.non_db_attrs, "field_id", "model_id", "tenant_from", "bind_row")

    def __init__(
        self,
        *args: Any,
        field_id: str | None = None,
        model_id: str | None = None,
        tenant_from: str | Callable[[Any], object] | None = None,
        bind_row: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.field_id, self.model_id, self.tenant_from, self.bind_row = field_id, model_id, tenant_from, bind_row

    def contribute_to_class(self, cls: type[models.Model], name: str, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("binding", None)
        super().contribute_to_class(cls, name, *args, **kwargs)
        if self.column:
            setattr(cls, self.attname, self.descriptor_class(self))

    @cached_property
    def binding(self) -> Binding:
        return Binding(cast(Any, self))

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        model = getattr(self, "model", None)
        options = {
            "field_id": self.field_id,
            "model_id": self.model_id or getattr(model, "cmk_model_id", None),
            "tenant_from": self.tenant_from or (None if model is None else vars_of(model, "cmk_tenant_from")),
            "bind_row": self.bind_row,
        }
        kwargs |= {option: value for option, value in options.items() if value is not None}
        return name, "encrypted_fields.EncryptedFileField", args, kwargs
