"""What a wrapped key says about itself without being opened: its KMS configuration and its leased key."""

from __future__ import annotations

from typing import NamedTuple

from encrypted_fields.core import protobuf
from encrypted_fields.core.errors import InvalidCiphertext


class EdekFacts(NamedTuple):
    """`config`: the number of the KMS configuration. `leased`: the leased key's number, 0 without one."""

    config: int
    leased: int


def facts(edek: bytes) -> EdekFacts:
    """InvalidCiphertext for what is no EDEK of the wire API (docs/formats.md section 4)."""
    try:
        ((number, inner),) = protobuf.fields(edek)
        members = dict(protobuf.fields(inner if isinstance(inner, bytes) else b""))
    except ValueError:
        number, members = 0, {}
    config, leased = members.get(2), members.get(3, 0)
    if number != 1 or not isinstance(config, int) or not isinstance(leased, int):
        raise InvalidCiphertext
    return EdekFacts(config, leased)
