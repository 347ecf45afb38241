"""Documents that carry their EDEK in front: one blob in, one blob out. Format V5 only; alloy's "standard attached"."""

from __future__ import annotations

from collections.abc import Mapping

from encrypted_fields.core.errors import CmkError, InvalidCiphertext
from encrypted_fields.core.protocol import Metadata
from encrypted_fields.documents import edeks, service, v5, values
from encrypted_fields.documents.edeks import Edek, Format
from encrypted_fields.documents.errors import AlreadyEncrypted
from encrypted_fields.documents.key import Data, DocumentKey
from encrypted_fields.documents.stream import decrypt_attached_stream as decrypt_stream
from encrypted_fields.documents.stream import encrypt_attached_stream as encrypt_stream
from encrypted_fields.documents.threads import in_thread


def encrypt(data: Data, metadata: Metadata) -> bytes:
    """`data` sealed under a new key, EDEK in front. One call to the proxy. AlreadyEncrypted before any call."""
    _check(data)
    with service.new_key(metadata) as (key, wrapped):
        return _sealed(data, key, wrapped, metadata.tenant)


def decrypt(blob: Data, metadata: Metadata) -> bytes:
    """The data. InvalidCiphertext for another tenant's, a damaged or a foreign blob."""
    held, body = _read(blob, metadata)
    with service.opened(metadata, held) as key:
        return key.open(body)


def encrypt_batch(blobs: Mapping[str, Data], metadata: Metadata) -> dict[str, bytes | CmkError]:
    """Each blob under a key of its own, or the error that befell it alone, by id. One call for each 1,000."""
    found: dict[str, bytes | CmkError] = {}
    for name, data in blobs.items():
        try:
            _check(data)
        except AlreadyEncrypted as error:
            found[name] = error.with_traceback(None)
    fresh = [name for name in blobs if name not in found]
    found |= service.with_new_keys(
        metadata, fresh, lambda name, key, wrapped: _sealed(blobs[name], key, wrapped, metadata.tenant)
    )
    return {name: found[name] for name in blobs}


def decrypt_batch(blobs: Mapping[str, Data], metadata: Metadata) -> dict[str, bytes | CmkError]:
    """The data of each blob, or the error that befell it alone, by id. One call for each 1,000."""
    found: dict[str, bytes | CmkError] = {}
    held: dict[str, Edek] = {}
    bodies: dict[str, memoryview] = {}
    for name, blob in blobs.items():
        try:
            held[name], bodies[name] = _read(blob, metadata)
        except InvalidCiphertext as error:
            found[name] = error.with_traceback(None)
    found |= service.with_keys_of(metadata, held, lambda name, key: key.open(bodies[name]))
    return {name: found[name] for name in blobs}


def rekey(blob: Data, metadata: Metadata, new_tenant: str | None = None) -> bytes:
    """The same document under the present key of its tenant, or of `new_tenant`. The sealed data is not touched."""
    tenant = metadata.tenant if new_tenant is None else new_tenant
    if not tenant:
        raise ValueError("the new tenant has no name")
    held, body = _read(blob, metadata)
    with service.rekeyed(metadata, held, tenant) as (key, wrapped):
        stored = held.rekeyed(wrapped, tenant, key)
    return v5.attach(stored[: v5.KEY_ID], stored[v5.KEY_ID :]) + bytes(body)


def _check(data: Data) -> None:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError("a document is bytes: encode text first")
    values.refuse_sealed(data)
    try:
        v5.read_attached(data)
    except InvalidCiphertext:
        return
    raise AlreadyEncrypted


def _read(blob: Data, metadata: Metadata) -> tuple[Edek, memoryview]:
    view = memoryview(blob).cast("B")
    header, size = v5.read_attached(view)
    header.admit(service.checked(metadata).tenant)
    return Edek(header.edek, header), view[size:]


def _sealed(data: Data, key: DocumentKey, wrapped: bytes, tenant: str) -> bytes:
    stored = edeks.make(wrapped, tenant, key, Format.V5)
    return v5.attach(stored[: v5.KEY_ID], stored[v5.KEY_ID :]) + key.seal(data)


aencrypt = in_thread(encrypt)
adecrypt = in_thread(decrypt)
aencrypt_batch = in_thread(encrypt_batch)
adecrypt_batch = in_thread(decrypt_batch)
arekey = in_thread(rekey)
aencrypt_stream = in_thread(encrypt_stream)
adecrypt_stream = in_thread(decrypt_stream)
