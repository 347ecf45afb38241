"""Uploads that lie nowhere in clear while they are received.

    FILE_UPLOAD_HANDLERS = [
        "django.core.files.uploadhandler.MemoryFileUploadHandler",
        "encrypted_fields.uploads.SealedUploadHandler",
    ]

Django's TemporaryFileUploadHandler writes uploads above FILE_UPLOAD_MAX_MEMORY_SIZE to a named temporary file in clear
and removes it after the request; what a crash or a snapshot of the disk leaves of it can be read.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from encrypted_fields.core.spool import Spool
from encrypted_fields.core.stream import CHUNK

if TYPE_CHECKING:
    _Uploaded = UploadedFile[bytes]
else:
    _Uploaded = UploadedFile


class SealedUploadedFile(_Uploaded):
    """An upload whose temporary file is ciphertext under a key in this process. It has no path."""

    def __init__(self, spool: Spool, name: str | None, content_type: str | None, size: int, **about: Any) -> None:
        super().__init__(cast(Any, io.BufferedReader(spool.finish(), CHUNK)), name, content_type, size, **about)
        self._spool = spool

    def close(self) -> None:
        super().close()
        self._spool.close()


class SealedUploadHandler(FileUploadHandler):
    """Takes what the handlers before it leave, to a nameless temporary file in FILE_UPLOAD_TEMP_DIR, sealed."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        # the name under which Django's parser looks for what it closes when a request breaks off
        self.file = Spool(settings.FILE_UPLOAD_TEMP_DIR)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.file.write(raw_data)

    def file_complete(self, file_size: int) -> SealedUploadedFile:
        about = {"charset": self.charset, "content_type_extra": self.content_type_extra}
        return SealedUploadedFile(self.file, self.file_name, self.content_type, file_size, **about)

    def upload_interrupted(self) -> None:
        if "file" in self.__dict__:
            self.file.close()
