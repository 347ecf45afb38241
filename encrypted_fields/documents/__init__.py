"""Encrypted documents in IronCore's formats: maps of named fields, blobs and streams. docs/documents.md.

    from encrypted_fields import documents

    sealed = documents.encrypt({"name": b"Jim"}, documents.Metadata("north", "billing"))
    documents.decrypt(sealed, documents.Metadata("north", "billing"))

Each function has an asynchronous twin whose name starts with `a`; the blocking call then runs in a thread.
"""

from __future__ import annotations

from encrypted_fields.core.protocol import Metadata
from encrypted_fields.documents import attached, deterministic
from encrypted_fields.documents.detached import (
    EncryptedDocument,
    decrypt,
    decrypt_batch,
    encrypt,
    encrypt_batch,
    rekey,
)
from encrypted_fields.documents.edeks import Format
from encrypted_fields.documents.errors import AlreadyEncrypted
from encrypted_fields.documents.stream import decrypt_stream, encrypt_stream
from encrypted_fields.documents.threads import in_thread
from encrypted_fields.documents.v3 import STRICT, Trust

aencrypt = in_thread(encrypt)
adecrypt = in_thread(decrypt)
aencrypt_batch = in_thread(encrypt_batch)
adecrypt_batch = in_thread(decrypt_batch)
arekey = in_thread(rekey)
aencrypt_stream = in_thread(encrypt_stream)
adecrypt_stream = in_thread(decrypt_stream)

__all__ = [
    "STRICT",
    "AlreadyEncrypted",
    "EncryptedDocument",
    "Format",
    "Metadata",
    "Trust",
    "adecrypt",
    "adecrypt_batch",
    "adecrypt_stream",
    "aencrypt",
    "aencrypt_batch",
    "aencrypt_stream",
    "arekey",
    "attached",
    "decrypt",
    "decrypt_batch",
    "decrypt_stream",
    "deterministic",
    "encrypt",
    "encrypt_batch",
    "encrypt_stream",
    "rekey",
]
