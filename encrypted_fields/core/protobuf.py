"""The small part of Protocol Buffers that EDEKs and document headers use: varints and length-delimited fields.

Source: protobuf.dev/programming-guides/encoding. Strict where it protects: varints longer than needed are
refused although the format allows them; groups and fixed-width fields are unknown to us and refused.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, LENGTH = 0, 2


class ProtobufError(ValueError):
    """The bytes are not a message that we read. Carries no data."""


def varint(number: int, value: int) -> bytes:
    """One varint field; nothing for zero, as proto3 has it. ValueError unless `value` is 0 … 2^64-1."""
    if not 0 <= value < 2**64:
        raise ValueError("a varint is 0 to 2^64-1")
    return _encode(number << 3 | VARINT) + _encode(value) if value else b""


def length(number: int, value: bytes) -> bytes:
    """One bytes, string or message field, written even when empty."""
    return _encode(number << 3 | LENGTH) + _encode(len(value)) + value


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) in order of appearance: int for a varint, bytes for a length-delimited field.

    ProtobufError, while iterating, for anything else.
    """
    position, end = 0, len(data)
    while position < end:
        key, position = _decode(data, position)
        number, kind = key >> 3, key & 7
        if not 0 < number < 2**29:
            raise ProtobufError("bad field number")
        if kind == VARINT:
            value, position = _decode(data, position)
            yield number, value
        elif kind == LENGTH:
            size, position = _decode(data, position)
            if size > end - position:
                raise ProtobufError("a field runs past the end")
            yield number, data[position : position + size]
            position += size
        else:
            raise ProtobufError("unknown wire type")


def _encode(value: int) -> bytes:
    if value < 0x80:
        return value.to_bytes(1, "big")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _decode(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise ProtobufError("a varint is too long")
    except IndexError:
        raise ProtobufError("a varint is cut") from None
    if value >= 2**64 or (shift and not byte):
        raise ProtobufError("a varint is too long")
    return value, position
