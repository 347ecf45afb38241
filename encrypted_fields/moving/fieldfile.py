"""The file of one row that is on its way: the sealed one, else the plain one, under one name."""

from __future__ import annotations

import io
import os
from functools import partial
from typing import Any, cast

from django.core.files.base import File
from django.db import router, transaction

from encrypted_fields.core.stream import CHUNK
from encrypted_fields.fields.fieldfile import EncryptedFieldFile, Opened
from encrypted_fields.fields.names import without_token
from encrypted_fields.fields.ranged import open_stored
from encrypted_fields.fields.upload import store
from encrypted_fields.moving import DUAL, ENCRYPTED, PLAINTEXT, PlaintextLeft
from encrypted_fields.moving.whole import Whole


class MovingFieldFile(EncryptedFieldFile):
    """`pair`: (name of the sealed file, name of the plain one), either may be None."""

    _pair: tuple[str | None, str | None] | None = None  # when this object stored them

    def __init__(self, instance: Any, field: Any, name: str | None) -> None:
        # raw() hands over single columns
        super().__init__(instance, field, name or instance.__dict__.get(field.clear.attname))

    @property
    def pair(self) -> tuple[str | None, str | None]:
        if self._pair is not None:
            return self._pair
        if not self:
            return None, None
        name = str(self.name)
        if self._by_hand or self._assigned:
            return (None, name) if self.field.state == PLAINTEXT else (name, None)
        clear = self._clear()
        return (None, clear) if name == clear else (name, clear)

    @property
    def plain(self) -> bool:
        """Whether what is stored, and counts, lies in clear."""
        if not self or not self._committed:
            return False
        sealed, clear = self.pair
        return sealed is None and clear is not None

    @property
    def storage(self) -> Any:
        """Where the file lies that counts."""
        return self.field.clear.storage if self.plain else self.field.storage

    @storage.setter
    def storage(self, value: Any) -> None:
        """Django sets the field's."""

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "_pair": self._pair}

    def check_place(self) -> None:
        if not self.plain:
            super().check_place()

    def delete(self, save: bool = True) -> None:
        sealed, clear = self.pair if self._committed else (None, None)
        storage, using = self.field.clear.storage, self.instance._state.db or router.db_for_write(type(self.instance))
        super().delete(save)
        self._pair = None, None
        if sealed and clear:
            transaction.on_commit(partial(storage.delete, clear), using=using)

    def _clear(self) -> str | None:
        field, data = self.field.clear, self.instance.__dict__
        if field.attname not in data and not self.instance._state.adding:
            self.instance.refresh_from_db(fields=[field.attname])
        return data.get(field.attname) or None

    def _seal(self, name: str, content: Any) -> None:
        """In clear, sealed, or both, as the state says; a failure leaves neither."""
        field, clear, before = self.field, None, self._pair
        if field.state in (PLAINTEXT, DUAL):
            clear = self._stored_plain(name, content)
        self._pair = None, None  # from here on it is a new file
        try:
            if field.state == PLAINTEXT:
                self.name, self._committed = clear, True
                self.__dict__.pop("_file", None)
                self._assigned, self._by_hand = True, False
                self._pair = None, clear
                self._set_instance_attribute(self.name, content)
            elif clear is None:
                super()._seal(name, content)
                self._pair = self.name, None
            else:
                with field.clear.storage.open(clear, "rb") as again:  # `content` may be read only once
                    super()._seal(name, again)
                self._pair = self.name, clear
        except BaseException:
            self._pair = before
            if clear is not None:
                field.clear.storage.delete(clear)
            raise
        self.instance.__dict__[field.clear.attname] = clear

    def _stored_plain(self, name: str, content: Any) -> str:
        field = self.field.clear
        name = field.generate_filename(self.instance, name)
        return store(field.storage, name, Whole(content), field.max_length)

    def _open_stored(self) -> Any:
        if not self.plain:
            return super()._open_stored()
        if self.field.state == ENCRYPTED:
            raise PlaintextLeft(
                f"{self.field.model._meta.label}.{self.field.name} says state={ENCRYPTED!r}, and a row has its file in "
                "clear only: run manage.py encrypt_existing"
            )
        return PlainOpened(self.storage, str(self.name))


class PlainOpened(Opened):
    """A plain file, with what is asked of an opened one."""

    def __init__(self, storage: Any, name: str) -> None:
        stored = open_stored(storage, name)
        size = stored.seek(0, io.SEEK_END)
        stored.seek(0)
        source = io.BufferedReader(stored, CHUNK) if isinstance(stored, io.RawIOBase) else stored
        File.__init__(self, cast(Any, source), os.path.basename(name))
        self.mode = "rb"
        self.salt = f"{name}|{size}".encode()  # names are fresh: another file has another one
        self.original_name = without_token(name)
        self._size, self._stored = size, stored
