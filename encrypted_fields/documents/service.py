"""Keys for documents: one call for one, one call for each 1,000 of a batch. Every key is wiped when it was used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

from encrypted_fields import client
from encrypted_fields.conf import BATCH
from encrypted_fields.core.errors import CmkError
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import Derived, Metadata, WrappedKey
from encrypted_fields.documents.edeks import Edek
from encrypted_fields.documents.key import DocumentKey

T = TypeVar("T")


@runtime_checkable
class Rekeys(Protocol):
    """A key service that moves a key to the present key of a tenant."""

    def rekey(self, about: Metadata, edek: bytes, new_tenant: str) -> WrappedKey: ...


@runtime_checkable
class Derives(Protocol):
    """A key service that derives keys from a tenant's secrets."""

    def derive(self, about: Metadata, paths: Mapping[str, Sequence[str]], kind: str) -> Derived: ...


@contextmanager
def new_key(about: Metadata) -> Iterator[tuple[DocumentKey, bytes]]:
    """A new key and its EDEK as the proxy gave it."""
    wrapped = client.current().wrap(checked(about))
    with DocumentKey(wrapped.dek) as key:
        yield key, wrapped.edek


@contextmanager
def opened(about: Metadata, edek: Edek) -> Iterator[DocumentKey]:
    """The key of a stored EDEK; its tenant is compared before and its signature after the proxy is asked."""
    edek.admit(checked(about).tenant)
    with DocumentKey(client.current().unwrap(about, edek.sent)) as key:
        edek.verify(key)
        yield key


@contextmanager
def rekeyed(about: Metadata, edek: Edek, new_tenant: str) -> Iterator[tuple[DocumentKey, bytes]]:
    """The key of an EDEK, which its caller has admitted, and the EDEK that the proxy made for `new_tenant`."""
    service = client.current()
    if not isinstance(service, Rekeys):
        raise TypeError("the installed key service does not rekey")
    wrapped = service.rekey(about, edek.sent, new_tenant)
    with DocumentKey(wrapped.dek) as key:
        edek.verify(key)
        yield key, wrapped.edek


def with_new_keys(
    about: Metadata, ids: Sequence[str], use: Callable[[str, DocumentKey, bytes], T]
) -> dict[str, T | CmkError]:
    """`use(id, key, edek)` for each id with a key of its own. A failure of one is in its place."""
    found: dict[str, T | CmkError] = {}
    for part in _parts(ids):
        keys = client.current().batch_wrap(checked(about), len(part))
        try:
            for name, wrapped in zip(part, keys, strict=True):
                if isinstance(wrapped, CmkError):
                    found[name] = wrapped
                else:
                    with DocumentKey(wrapped.dek) as key:
                        found[name] = use(name, key, wrapped.edek)
        finally:
            for one in keys:
                if isinstance(one, WrappedKey):
                    wipe(one.dek)
    return found


def with_keys_of(
    about: Metadata, edeks: Mapping[str, Edek], use: Callable[[str, DocumentKey], T]
) -> dict[str, T | CmkError]:
    """`use(id, key)` for each EDEK, which its caller has admitted, once its signature is verified. A failure of one,
    also one that `use` raises, is in its place."""
    found: dict[str, T | CmkError] = {}
    for part in _parts(list(edeks)):
        keys = client.current().batch_unwrap(checked(about), [edeks[name].sent for name in part])
        try:
            for name, dek in zip(part, keys, strict=True):
                found[name] = dek if isinstance(dek, CmkError) else _used(name, dek, edeks[name], use)
        finally:
            for one in keys:
                if isinstance(one, bytearray):
                    wipe(one)
    return found


def _used(name: str, dek: bytearray, edek: Edek, use: Callable[[str, DocumentKey], T]) -> T | CmkError:
    with DocumentKey(dek) as key:
        try:
            edek.verify(key)
            return use(name, key)
        except CmkError as error:
            return error.with_traceback(None)  # its frames would keep key and plaintext alive


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def checked(about: Metadata) -> Metadata:
    if not about.tenant:
        raise ValueError("the metadata names no tenant")
    return about
