"""A document's EDEK in either form: the proxy's own bytes (V3), or these in a signed header behind a key id (V5)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.protocol import BadReply
from encrypted_fields.documents import v5
from encrypted_fields.documents.key import DocumentKey
from encrypted_fields.documents.messages import config_and_tenant, elements, fields

T = TypeVar("T")


class Format(enum.Enum):
    """V3: for the Node, Java, Go and PHP clients. V5: for alloy, which also reads V3."""

    V3 = 3
    V5 = 5


@dataclass(frozen=True, slots=True)
class Edek:
    """A parsed EDEK: `sent` is what the proxy is asked with. `header` is None for the bare form."""

    sent: bytes
    header: v5.Header | None

    @property
    def format(self) -> Format:
        return Format.V3 if self.header is None else Format.V5

    def admit(self, tenant: str) -> None:
        """Before the key is asked for: InvalidCiphertext for another tenant's. A bare EDEK names none."""
        if self.header is not None:
            self.header.admit(tenant)

    def verify(self, key: DocumentKey) -> None:
        if self.header is not None:
            self.header.verify(key)

    def rekeyed(self, edek: bytes, tenant: str, key: DocumentKey) -> bytes:
        """The form of this EDEK around the one that the proxy's rekey gave."""
        header = self.header
        if header is None:
            return _of_proxy(edek)
        return b"".join(_believed(lambda: header.rekeyed(edek, tenant, key)))


def make(edek: bytes, tenant: str, key: DocumentKey, form: Format) -> bytes:
    """What is stored for an EDEK that the proxy's wrap gave. BadReply if that is not one."""
    if form is Format.V3:
        return _of_proxy(edek)
    return b"".join(_believed(lambda: v5.make(edek, tenant, key)))


def read(stored: bytes) -> Edek:
    """InvalidCiphertext for anything that is neither form. Both are told apart as alloy does it: V5 first."""
    try:
        header = v5.read(stored[: v5.KEY_ID], stored[v5.KEY_ID :])
        return Edek(header.edek, header)
    except InvalidCiphertext:
        pass
    _check(stored)
    return Edek(stored, None)


def _of_proxy(edek: bytes) -> bytes:
    _believed(lambda: _check(edek))
    return edek


def _check(edek: bytes) -> None:
    for element in elements(edek):
        config_and_tenant(fields(element))


def _believed(use: Callable[[], T]) -> T:
    # Configuration number 0, for one, would be encrypted with today and never be found again by alloy.
    try:
        return use()
    except InvalidCiphertext:
        pass
    raise BadReply
