"""Data keys: asked for in batches, turned into ready ciphers, and the raw bytes wiped at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from encrypted_fields import client
from encrypted_fields.conf import BATCH
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.errors import CmkError
from encrypted_fields.core.memory import wipe
from encrypted_fields.tenancy import metadata


class RowKey(NamedTuple):
    """One row's key: shared by the encrypted fields that are written together."""

    key: ValueKey
    edek: bytes


def new_keys(tenant: str, count: int, *, label: str, object_id: str | None = None) -> list[RowKey]:
    """`count` new keys in ceil(count / 1,000) calls. Raises the first failure: without all keys nothing is written."""
    api, keys = client.current(), []
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        about = metadata(tenant, label, object_id)
        wrapped = [api.wrap(about)] if count == 1 else api.batch_wrap(about, size)
        failure = next((one for one in wrapped if isinstance(one, CmkError)), None)
        for one in wrapped:
            if not isinstance(one, CmkError):
                if failure is None:
                    keys.append(RowKey(_ready(one.dek), one.edek))
                else:
                    wipe(one.dek)
        if failure is not None:
            raise failure
    return keys


def open_keys(
    tenant: str, edeks: Sequence[bytes], *, label: str, object_id: str | None = None
) -> dict[bytes, ValueKey | CmkError]:
    """The key of each EDEK, or why there is none, in ceil(n / 1,000) calls."""
    api, found = client.current(), dict[bytes, ValueKey | CmkError]()
    about = metadata(tenant, label, object_id)
    if len(edeks) == 1:
        try:
            found[edeks[0]] = _ready(api.unwrap(about, edeks[0]))
        except CmkError as error:
            found[edeks[0]] = error
        return found
    for start in range(0, len(edeks), BATCH):
        part = edeks[start : start + BATCH]
        for edek, dek in zip(part, api.batch_unwrap(about, part), strict=True):
            found[edek] = dek if isinstance(dek, CmkError) else _ready(dek)
    return found


def new_dek(tenant: str, *, label: str, object_id: str | None) -> tuple[bytearray, bytes]:
    """(DEK, EDEK) of a file. The caller wipes the DEK."""
    wrapped = client.current().wrap(metadata(tenant, label, object_id))
    return wrapped.dek, wrapped.edek


def open_dek(tenant: str, edek: bytes, *, label: str) -> bytearray:
    """The DEK of a file. The caller wipes it."""
    return client.current().unwrap(metadata(tenant, label, None), edek)


def _ready(dek: bytearray) -> ValueKey:
    # OpenSSL copies the key into its own context, which it cleanses when the ValueKey is freed.
    try:
        return ValueKey(dek)
    finally:
        wipe(dek)
