"""Documents whose EDEK is kept beside them: a map of named fields, one key, one EDEK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from encrypted_fields.core.errors import CmkError, InvalidCiphertext
from encrypted_fields.core.protocol import Metadata
from encrypted_fields.documents import edeks as edek_forms
from encrypted_fields.documents import service, values
from encrypted_fields.documents.edeks import Edek, Format
from encrypted_fields.documents.errors import AlreadyEncrypted
from encrypted_fields.documents.key import Data, DocumentKey
from encrypted_fields.documents.v3 import STRICT, Trust
from encrypted_fields.documents.values import Field


@dataclass(frozen=True, slots=True)
class EncryptedDocument:
    """What is stored: the EDEK and the sealed fields, all bytes. The Node and Java clients keep the EDEK as base64."""

    edek: bytes
    fields: Mapping[str, Data]

    def __repr__(self) -> str:
        return f"<EncryptedDocument of {len(self.fields)} fields>"


def encrypt(
    fields: Mapping[str, Data], metadata: Metadata, *, format: Format | None = None, edek: bytes | None = None
) -> EncryptedDocument:
    """Each field sealed under one key: a new one, or that of an existing `edek` of the same document.

    `format` is V5 unless given; with an `edek` it is the one that this EDEK is in. One call to the proxy.
    AlreadyEncrypted before any call when a value is sealed already; TypeError for a value that is not bytes.
    """
    values.check(fields)
    tenant = service.checked(metadata).tenant
    if edek is None:
        with service.new_key(metadata) as (key, wrapped):
            return _sealed(fields, key, wrapped, tenant, format or Format.V5)
    held = _existing(edek, format)
    with service.opened(metadata, held) as key:
        return EncryptedDocument(edek, values.seal_all(fields, key, tenant, held.format))


def decrypt(document: EncryptedDocument, metadata: Metadata, *, trust: Trust = STRICT) -> dict[str, bytes]:
    """The fields in clear, whichever of the two formats each is in. One call to the proxy.

    InvalidCiphertext, before the proxy is asked, for bytes of another format, of another tenant or unsigned (`trust`);
    afterwards for anything that this key did not seal. All fields or none.
    """
    held, parsed = _read(document, metadata, trust)
    with service.opened(metadata, held) as key:
        return _opened(parsed, key)


def encrypt_batch(
    documents: Mapping[str, Mapping[str, Data]],
    metadata: Metadata,
    *,
    format: Format | None = None,
    edeks: Mapping[str, bytes] | None = None,
) -> dict[str, EncryptedDocument | CmkError]:
    """Each document under a key of its own, or the error that befell it alone, by id. One call for each 1,000.

    With `edeks`, the documents named there keep the key they have. A failure of the whole request is raised.
    """
    tenant = service.checked(metadata).tenant
    found: dict[str, EncryptedDocument | CmkError] = {}
    held: dict[str, Edek] = {}
    fresh: list[str] = []
    edeks = edeks or {}
    for name, fields in documents.items():
        try:
            values.check(fields)
            if name in edeks:
                held[name] = _existing(edeks[name], format)
                held[name].admit(tenant)
            else:
                fresh.append(name)
        except (AlreadyEncrypted, InvalidCiphertext) as error:
            held.pop(name, None)
            found[name] = error.with_traceback(None)

    def seal(name: str, key: DocumentKey, wrapped: bytes) -> EncryptedDocument:
        return _sealed(documents[name], key, wrapped, tenant, format or Format.V5)

    def seal_again(name: str, key: DocumentKey) -> EncryptedDocument:
        return EncryptedDocument(edeks[name], values.seal_all(documents[name], key, tenant, held[name].format))

    found |= service.with_new_keys(metadata, fresh, seal)
    found |= service.with_keys_of(metadata, held, seal_again)
    return {name: found[name] for name in documents}


def decrypt_batch(
    documents: Mapping[str, EncryptedDocument], metadata: Metadata, *, trust: Trust = STRICT
) -> dict[str, dict[str, bytes] | CmkError]:
    """The fields of each document, or the error that befell it alone, by id. One call for each 1,000."""
    found: dict[str, dict[str, bytes] | CmkError] = {}
    held: dict[str, Edek] = {}
    parsed: dict[str, dict[str, Field]] = {}
    for name, document in documents.items():
        try:
            held[name], parsed[name] = _read(document, metadata, trust)
        except InvalidCiphertext as error:
            found[name] = error.with_traceback(None)
    found |= service.with_keys_of(metadata, held, lambda name, key: _opened(parsed[name], key))
    return {name: found[name] for name in documents}


def rekey(
    document: EncryptedDocument, metadata: Metadata, new_tenant: str | None = None, *, trust: Trust = STRICT
) -> EncryptedDocument:
    """The same document under the present key of its tenant, or of `new_tenant`. One call to the proxy.

    The fields' data is not touched; V3 headers, which name the tenant, are signed for the new one. Store the whole
    result. The old EDEK still opens the old bytes: whoever kept it and the old tenant's key can read on.
    """
    tenant = metadata.tenant if new_tenant is None else new_tenant
    if not tenant:
        raise ValueError("the new tenant has no name")
    held, parsed = _read(document, metadata, trust)
    with service.rekeyed(metadata, held, tenant) as (key, wrapped):
        fields = {name: values.signed_for(parsed[name], value, key, tenant) for name, value in document.fields.items()}
        return EncryptedDocument(held.rekeyed(wrapped, tenant, key), fields)


def _read(document: EncryptedDocument, metadata: Metadata, trust: Trust) -> tuple[Edek, dict[str, Field]]:
    held = edek_forms.read(document.edek)
    held.admit(service.checked(metadata).tenant)
    return held, values.read_all(document.fields, metadata.tenant, trust)


def _existing(edek: bytes, form: Format | None) -> Edek:
    held = edek_forms.read(edek)
    if form is not None and form is not held.format:
        raise ValueError("an existing EDEK keeps its format: leave `format` out, or encrypt under a new key")
    return held


def _sealed(
    fields: Mapping[str, Data], key: DocumentKey, wrapped: bytes, tenant: str, form: Format
) -> EncryptedDocument:
    edek = edek_forms.make(wrapped, tenant, key, form)
    return EncryptedDocument(edek, values.seal_all(fields, key, tenant, form))


def _opened(parsed: Mapping[str, Field], key: DocumentKey) -> dict[str, bytes]:
    return {name: field.open(key) for name, field in parsed.items()}
