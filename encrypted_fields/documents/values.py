"""The fields of a document, sealed and opened with its key, whichever format each is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.documents import v3, v5
from encrypted_fields.documents.edeks import Format
from encrypted_fields.documents.errors import AlreadyEncrypted
from encrypted_fields.documents.key import Data, DocumentKey
from encrypted_fields.documents.v3 import Trust


@dataclass(frozen=True, slots=True)
class Field:
    """A parsed field: `header` is None for V5, whose fields name no tenant. `body`: nonce, ciphertext, tag."""

    header: v3.Header | None
    body: memoryview

    def open(self, key: DocumentKey) -> bytes:
        if self.header is not None:
            self.header.verify(key)
        return key.open(self.body)


def check(fields: Mapping[str, Data]) -> None:
    """TypeError unless all names are text and all values bytes; AlreadyEncrypted for a value that is sealed already."""
    for name, value in fields.items():
        if not isinstance(name, str) or not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError("a document maps names (str) to bytes: encode text first")
    for value in fields.values():
        refuse_sealed(value)


def refuse_sealed(value: Data) -> None:
    if v3.looks_sealed(value) or v5.looks_sealed(value):
        raise AlreadyEncrypted


def seal_all(fields: Mapping[str, Data], key: DocumentKey, tenant: str, form: Format) -> dict[str, bytes]:
    # One signed header serves all fields: it says whose key this is, nothing about the field.
    prefix = v5.MAGIC if form is Format.V5 or not fields else v3.make(key, tenant)
    return {name: prefix + key.seal(value) for name, value in fields.items()}


def read_all(fields: Mapping[str, Data], tenant: str, trust: Trust) -> dict[str, Field]:
    """The parsed fields. InvalidCiphertext before any key is asked for: another format, another tenant, unsigned."""
    return {name: _read(value, tenant, trust) for name, value in fields.items()}


def signed_for(field: Field, value: Data, key: DocumentKey, tenant: str) -> bytes:
    """`value` with its header, if it has a signed one, made for another tenant. The sealed bytes stay as they are."""
    if field.header is None or field.header.signature is None:
        return bytes(value)
    field.header.verify(key)
    return bytes(value) if field.header.tenant == tenant else v3.make(key, tenant) + bytes(field.body)


def _read(value: Data, tenant: str, trust: Trust) -> Field:
    view = memoryview(value).cast("B")
    if bytes(view[: len(v5.MAGIC)]) == v5.MAGIC:
        return Field(None, view[len(v5.MAGIC) :])
    if bytes(view[: len(v3.MAGIC)]) == v3.MAGIC:
        header = v3.read(view)
        header.admit(tenant, trust)
        return Field(header, view[header.size :])
    raise InvalidCiphertext
