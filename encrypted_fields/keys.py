"""Data keys: asked for in batches, turned into ready ciphers, and the raw bytes wiped at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from typing import NamedTuple

from django.utils.asyncio import async_unsafe

from encrypted_fields import client, key_ring
from encrypted_fields.conf import BATCH
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.errors import WITHDRAWN, CmkError
from encrypted_fields.core.memory import wipe, wipe_all
from encrypted_fields.core.protocol import Metadata, WrappedKey
from encrypted_fields.policy import decide, permit
from encrypted_fields.tenancy import metadata

# As the ORM does: a call inside an event loop would stop everybody who shares it
_asks = async_unsafe(
    "an encrypted value needs a call to the proxy, which would block this event loop: read it inside "
    "`async with decrypted(rows)`, after `await aopen(row)`, or in sync_to_async"
)


Unwrapped = bytearray | ValueKey | CmkError  # a raw key, one that is ready, or why there is none


class RowKey(NamedTuple):
    """One row's key: shared by the encrypted fields that are written together."""

    key: ValueKey
    edek: bytes


def new_keys(tenant: str, count: int, *, label: str, object_id: str | None = None) -> list[RowKey]:
    """`fresh_keys`, all of them at once."""
    return list(fresh_keys(tenant, count, label=label, object_id=object_id))


@_asks
def fresh_keys(tenant: str, count: int, *, label: str, object_id: str | None = None) -> Iterator[RowKey]:
    """Keys for `count` new rows, a new one for each, in ceil(count / 1,000) calls; inside `reuse_keys` one for as many
    rows as it says. Raises the first failure: without all keys none is given.

    One ready key at a time, as in `open_keys`.
    """
    api, wrapped = client.current(), list[WrappedKey | CmkError]()
    about = permit(metadata(tenant, label, object_id), "encrypt")
    ring = key_ring.current.get()
    rows = 1 if ring is None else ring.rows_per_key
    lent = None if ring is None or rows == 1 else ring.lend(about, count)
    left = count if lent is None else count - lent.rows
    asked = -(-left // rows)
    try:
        with _heard(tenant):
            for start in range(0, asked, BATCH):
                wrapped += [api.wrap(about)] if asked == 1 else api.batch_wrap(about, min(BATCH, asked - start))
                for one in wrapped[start:]:
                    if isinstance(one, CmkError):
                        raise one
        if ring is not None and lent is not None:
            ring.sealed(about, lent.edek, lent.rows)
            yield from repeat(RowKey(lent.key, lent.edek), lent.rows)
        for one in wrapped:
            if isinstance(one, CmkError):
                continue
            here = min(rows, left)
            left -= here
            if ring is not None and here > 1:
                ring.sealed(about, one.edek, here - 1)
            if ring is not None and here < rows:
                ring.keep_sealing(about, one.edek, one.dek, rows - here)
            yield from repeat(RowKey(ValueKey(one.dek), one.edek), here)
    finally:
        for one in wrapped:
            if not isinstance(one, CmkError):
                wipe(one.dek)


def open_keys(
    tenant: str, edeks: Sequence[bytes], *, label: str, labels: Sequence[str] = (), object_id: str | None = None
) -> Iterator[tuple[bytes, ValueKey | CmkError]]:
    """Each EDEK with its key, or why there is none, as `unwrapped` finds them.

    One ready key at a time: it is quickest while it is fresh, and need not stay.
    """
    with unwrapped(tenant, edeks, label=label, labels=labels, object_id=object_id) as found:
        for edek, key in found.items():
            # OpenSSL copies the key into its own context, and cleanses that when it is freed
            yield edek, ValueKey(key) if isinstance(key, bytearray) else key


@_asks
@contextmanager
def unwrapped(
    tenant: str, edeks: Sequence[bytes], *, label: str, labels: Sequence[str] = (), object_id: str | None = None
) -> Iterator[dict[bytes, Unwrapped]]:
    """The raw key of each EDEK, or why there is none, in ceil(n / 1,000) calls; wiped at the end of the block. Fewer
    calls inside `reuse_keys`, whose kept keys come ready. `labels`: all that are opened, where there are several.
    """
    about = permit(metadata(tenant, label, object_id), "decrypt")
    if len(labels) > 1:
        about = replace(about, custom={**about.custom, "labels": ",".join(labels)})
    ring = key_ring.current.get()
    kept = {} if ring is None else ring.take(about, edeks)
    asked = [edek for edek in edeks if edek not in kept] if kept else edeks
    deks: list[bytearray | CmkError] = []
    try:
        with _heard(tenant):
            _ask(about, asked, deks)
        if any(isinstance(one, WITHDRAWN) for one in deks if type(one) is not bytearray):
            # the tenant said no to some: what was kept of the others is no proof any more
            key_ring.refused(tenant)
            asked = [*asked, *kept]
            _ask(about, list(kept), deks)
            kept = {}
        found: dict[bytes, Unwrapped] = dict(zip(asked, deks, strict=True))
        if ring is not None:
            for edek, dek in found.items():
                if isinstance(dek, bytearray):
                    ring.keep(tenant, edek, dek)
        yield {**kept, **found} if kept else found
    finally:
        wipe_all(dek for dek in deks if isinstance(dek, bytearray))


def permits(tenant: str, label: str) -> bool:
    """Whether the policy lets values with this label be opened along with others. Tells nobody."""
    refused, _ = decide(metadata(tenant, label, None), "decrypt")
    return not refused


def _ask(about: Metadata, edeks: Sequence[bytes], deks: list[bytearray | CmkError]) -> None:
    api = client.current()
    for start in range(0, len(edeks), BATCH):
        part = edeks[start : start + BATCH]
        try:
            deks += [api.unwrap(about, part[0])] if len(edeks) == 1 else api.batch_unwrap(about, part)
        except CmkError as error:
            if len(edeks) > 1:
                raise
            deks.append(error)


@_asks
def new_dek(tenant: str, *, label: str, object_id: str | None) -> tuple[bytearray, bytes]:
    """(DEK, EDEK) of a file. The caller wipes the DEK."""
    about = permit(metadata(tenant, label, object_id), "encrypt")
    with _heard(tenant):
        wrapped = client.current().wrap(about)
    return wrapped.dek, wrapped.edek


@_asks
def open_dek(tenant: str, edek: bytes, *, label: str) -> bytearray:
    """The DEK of a file. The caller wipes it."""
    about = permit(metadata(tenant, label, None), "decrypt")
    with _heard(tenant):
        return client.current().unwrap(about, edek)


@contextmanager
def _heard(tenant: str) -> Iterator[None]:
    """A refusal, whatever it was asked for, ends what is kept of this tenant."""
    try:
        yield
    except WITHDRAWN:
        key_ring.refused(tenant)
        raise
