"""The job of a command for a group of fields: one for values, one for files."""

from __future__ import annotations

from encrypted_fields.moving.choice import Group
from encrypted_fields.moving.decrypting import Decryption
from encrypted_fields.moving.encrypting import Encryption
from encrypted_fields.moving.file_decrypting import FileDecryption
from encrypted_fields.moving.file_encrypting import FileEncryption
from encrypted_fields.moving.file_rekeying import FileRekeying
from encrypted_fields.moving.job import Job
from encrypted_fields.moving.rekeying import Rekeying


def encryption(group: Group, tenant: str | None, *, verify: bool = False) -> Job:
    kind = FileEncryption if group.files else Encryption
    return kind(group.table, group.fields, tenant=tenant, verify=verify)


def decryption(group: Group, tenant: str | None) -> Job:
    kind = FileDecryption if group.files else Decryption
    return kind(group.table, group.fields, tenant=tenant)


def rekeying(group: Group, tenant: str | None, *, every: bool = False, one_by_one: bool = False) -> Job:
    kind = FileRekeying if group.files else Rekeying
    return kind(group.table, group.fields, tenant=tenant, every=every, one_by_one=one_by_one)
