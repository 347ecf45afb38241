"""Encrypted Django fields under keys that the customer manages. Names load on first use: the core needs no Django."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encrypted_fields.ciphertext import ciphertext_for as ciphertext_for
    from encrypted_fields.ciphertext import sealed_rows as sealed_rows
    from encrypted_fields.fields.base import EncryptedField as EncryptedField
    from encrypted_fields.fields.client_file import ClientSealedFileField as ClientSealedFileField
    from encrypted_fields.fields.client_sealed import ClientSealed as ClientSealed
    from encrypted_fields.fields.client_sealed import ClientSealedField as ClientSealedField
    from encrypted_fields.fields.file import EncryptedFileField as EncryptedFileField
    from encrypted_fields.fields.image import EncryptedImageField as EncryptedImageField
    from encrypted_fields.fields.sealed import Locked as Locked
    from encrypted_fields.fields.stored import Stored as Stored
    from encrypted_fields.fields.typed import EncryptedArrayField as EncryptedArrayField
    from encrypted_fields.fields.typed import EncryptedBigIntegerField as EncryptedBigIntegerField
    from encrypted_fields.fields.typed import EncryptedBinaryField as EncryptedBinaryField
    from encrypted_fields.fields.typed import EncryptedBooleanField as EncryptedBooleanField
    from encrypted_fields.fields.typed import EncryptedCharField as EncryptedCharField
    from encrypted_fields.fields.typed import EncryptedDateField as EncryptedDateField
    from encrypted_fields.fields.typed import EncryptedDateTimeField as EncryptedDateTimeField
    from encrypted_fields.fields.typed import EncryptedDecimalField as EncryptedDecimalField
    from encrypted_fields.fields.typed import EncryptedDurationField as EncryptedDurationField
    from encrypted_fields.fields.typed import EncryptedEmailField as EncryptedEmailField
    from encrypted_fields.fields.typed import EncryptedFloatField as EncryptedFloatField
    from encrypted_fields.fields.typed import EncryptedGenericIPAddressField as EncryptedGenericIPAddressField
    from encrypted_fields.fields.typed import EncryptedIntegerField as EncryptedIntegerField
    from encrypted_fields.fields.typed import EncryptedJSONField as EncryptedJSONField
    from encrypted_fields.fields.typed import EncryptedPositiveBigIntegerField as EncryptedPositiveBigIntegerField
    from encrypted_fields.fields.typed import EncryptedPositiveIntegerField as EncryptedPositiveIntegerField
    from encrypted_fields.fields.typed import EncryptedPositiveSmallIntegerField as EncryptedPositiveSmallIntegerField
    from encrypted_fields.fields.typed import EncryptedSlugField as EncryptedSlugField
    from encrypted_fields.fields.typed import EncryptedSmallIntegerField as EncryptedSmallIntegerField
    from encrypted_fields.fields.typed import EncryptedTextField as EncryptedTextField
    from encrypted_fields.fields.typed import EncryptedTimeField as EncryptedTimeField
    from encrypted_fields.fields.typed import EncryptedURLField as EncryptedURLField
    from encrypted_fields.fields.typed import EncryptedUUIDField as EncryptedUUIDField
    from encrypted_fields.fixtures import plaintext_fixtures as plaintext_fixtures
    from encrypted_fields.moving.plaintext import PlaintextField as PlaintextField
    from encrypted_fields.opening import aopen as aopen
    from encrypted_fields.opening import decrypted as decrypted
    from encrypted_fields.policy import AccessRefused as AccessRefused
    from encrypted_fields.recipients import Recipient as Recipient
    from encrypted_fields.reuse import reuse_keys as reuse_keys
    from encrypted_fields.tenancy import NoTenant as NoTenant
    from encrypted_fields.tenancy import TenantConflict as TenantConflict
    from encrypted_fields.tenancy import acting as acting
    from encrypted_fields.tenancy import current_tenant as current_tenant
    from encrypted_fields.tenancy import tenant as tenant

_HOME = {
    "AccessRefused": "policy",
    "ClientSealed": "fields.client_sealed",
    "ClientSealedField": "fields.client_sealed",
    "ClientSealedFileField": "fields.client_file",
    "EncryptedField": "fields.base",
    "EncryptedFileField": "fields.file",
    "EncryptedImageField": "fields.image",
    "Locked": "fields.sealed",
    "NoTenant": "tenancy",
    "PlaintextField": "moving.plaintext",
    "Recipient": "recipients",
    "Stored": "fields.stored",
    "TenantConflict": "tenancy",
    "acting": "tenancy",
    "aopen": "opening",
    "ciphertext_for": "ciphertext",
    "current_tenant": "tenancy",
    "decrypted": "opening",
    "plaintext_fixtures": "fixtures",
    "reuse_keys": "reuse",
    "sealed_rows": "ciphertext",
    "tenant": "tenancy",
}
_HOME |= dict.fromkeys(
    (
        "EncryptedArrayField",
        "EncryptedBigIntegerField",
        "EncryptedBinaryField",
        "EncryptedBooleanField",
        "EncryptedCharField",
        "EncryptedDateField",
        "EncryptedDateTimeField",
        "EncryptedDecimalField",
        "EncryptedDurationField",
        "EncryptedEmailField",
        "EncryptedFloatField",
        "EncryptedGenericIPAddressField",
        "EncryptedIntegerField",
        "EncryptedJSONField",
        "EncryptedPositiveBigIntegerField",
        "EncryptedPositiveIntegerField",
        "EncryptedPositiveSmallIntegerField",
        "EncryptedSlugField",
        "EncryptedSmallIntegerField",
        "EncryptedTextField",
        "EncryptedTimeField",
        "EncryptedURLField",
        "EncryptedUUIDField",
    ),
    "fields.typed",
)
__all__ = [
    "AccessRefused",
    "ClientSealed",
    "ClientSealedField",
    "ClientSealedFileField",
    "EncryptedArrayField",
    "EncryptedBigIntegerField",
    "EncryptedBinaryField",
    "EncryptedBooleanField",
    "EncryptedCharField",
    "EncryptedDateField",
    "EncryptedDateTimeField",
    "EncryptedDecimalField",
    "EncryptedDurationField",
    "EncryptedEmailField",
    "EncryptedField",
    "EncryptedFileField",
    "EncryptedFloatField",
    "EncryptedGenericIPAddressField",
    "EncryptedImageField",
    "EncryptedIntegerField",
    "EncryptedJSONField",
    "EncryptedPositiveBigIntegerField",
    "EncryptedPositiveIntegerField",
    "EncryptedPositiveSmallIntegerField",
    "EncryptedSlugField",
    "EncryptedSmallIntegerField",
    "EncryptedTextField",
    "EncryptedTimeField",
    "EncryptedURLField",
    "EncryptedUUIDField",
    "Locked",
    "NoTenant",
    "PlaintextField",
    "Recipient",
    "Stored",
    "TenantConflict",
    "acting",
    "aopen",
    "ciphertext_for",
    "current_tenant",
    "decrypted",
    "plaintext_fixtures",
    "reuse_keys",
    "sealed_rows",
    "tenant",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
