"""Reading of the protobuf messages in document headers: tolerant of what others may add, strict about what we use."""

from __future__ import annotations

from collections.abc import Mapping

from encrypted_fields.core import protobuf
from encrypted_fields.core.errors import InvalidCiphertext

MAX_CONFIG = 2**31 - 1
_ELEMENT = {1: bytes, 2: int, 6: bytes}


def members(data: bytes, known: Mapping[int, type]) -> dict[int, int | bytes]:
    """The known members by number. InvalidCiphertext when one occurs twice or has another type.

    Members that we do not know are passed over, in whatever order: a later version of the other clients may write
    them. A repeated one is refused although protobuf takes the last: two readers could then see two messages.
    """
    return _known(fields(data), known)


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """All members in order; InvalidCiphertext when `data` is no message."""
    try:
        return list(protobuf.fields(data))
    except protobuf.ProtobufError:
        pass
    raise InvalidCiphertext


def emit(found: list[tuple[int, int | bytes]]) -> bytes:
    """The message of these members, in their order."""
    return b"".join(
        protobuf.varint(number, value) if isinstance(value, int) else protobuf.length(number, value)
        for number, value in found
    )


def elements(edek: bytes) -> list[bytes]:
    """The EncryptedDek messages of an EncryptedDeks. InvalidCiphertext when there is none."""
    found = fields(edek)
    listed = [value for number, value in found if number == 1 and isinstance(value, bytes)]
    if not listed or len(listed) != len(found):
        raise InvalidCiphertext
    return listed


def config_and_tenant(element: list[tuple[int, int | bytes]]) -> tuple[int, str | None]:
    """kmsConfigId and tenantId of an EncryptedDek's members; no tenant in what the proxy itself replies."""
    found = _known(element, _ELEMENT)
    config, tenant = found.get(2), found.get(6)
    if not isinstance(config, int) or not 0 < config <= MAX_CONFIG or 1 not in found:
        raise InvalidCiphertext
    return config, text(tenant) if isinstance(tenant, bytes) else None


def text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    raise InvalidCiphertext


def _known(listed: list[tuple[int, int | bytes]], known: Mapping[int, type]) -> dict[int, int | bytes]:
    found: dict[int, int | bytes] = {}
    for number, value in listed:
        if number in known:
            if number in found or not isinstance(value, known[number]):
                raise InvalidCiphertext
            found[number] = value
    return found
