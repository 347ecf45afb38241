"""Encrypted Django fields under keys that the customer manages. Names load on first use: the core needs no Django."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField as EncryptedField
    from encrypted_fields.fields.file import EncryptedFileField as EncryptedFileField
    from encrypted_fields.fields.sealed import Locked as Locked
    from encrypted_fields.opening import aopen as aopen
    from encrypted_fields.opening import decrypted as decrypted
    from encrypted_fields.policy import AccessRefused as AccessRefused
    from encrypted_fields.reuse import reuse_keys as reuse_keys
    from encrypted_fields.tenancy import NoTenant as NoTenant
    from encrypted_fields.tenancy import TenantConflict as TenantConflict
    from encrypted_fields.tenancy import acting as acting
    from encrypted_fields.tenancy import current_tenant as current_tenant
    from encrypted_fields.tenancy import tenant as tenant

_HOME = {
    "AccessRefused": "policy",
    "EncryptedField": "fields.base",
    "EncryptedFileField": "fields.file",
    "Locked": "fields.sealed",
    "NoTenant": "tenancy",
    "TenantConflict": "tenancy",
    "acting": "tenancy",
    "aopen": "opening",
    "current_tenant": "tenancy",
    "decrypted": "opening",
    "reuse_keys": "reuse",
    "tenant": "tenancy",
}
__all__ = [
    "AccessRefused",
    "EncryptedField",
    "EncryptedFileField",
    "Locked",
    "NoTenant",
    "TenantConflict",
    "acting",
    "aopen",
    "current_tenant",
    "decrypted",
    "reuse_keys",
    "tenant",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
