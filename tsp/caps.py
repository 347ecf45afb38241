"""What a body may be before it is parsed, counted at C speed: depth, strings, members; and no member twice. T-14."""

from __future__ import annotations

from typing import Any

import msgspec

from encrypted_fields.core.errors import InvalidRequest

MAX_DEPTH = 8
SINGLE_BYTES, SINGLE_STRINGS = 1024 * 1024, 2_000
BATCH_BYTES, BATCH_STRINGS = 8 * 1024 * 1024, 65_000  # 20,000 ids, each with up to three strings

_plain = msgspec.json.Decoder()
_ROUND = bytes.maketrans(b"[{]}", b"(())")
_BRACKETS = b"[{]}"
_OTHERS = bytes(byte for byte in range(256) if byte not in _BRACKETS)


def check(body: bytes, most: int) -> None:
    """InvalidRequest for a body of more than `most` strings or values, or of more than 8 levels.

    What only looks like structure, since it stands inside of strings, is counted out when the quick counts are high.
    """
    many = len(body) > most and (body.count(b'"') > 2 * most or body.count(b",") > most)
    if many or (body.count(b"{") + body.count(b"[") > MAX_DEPTH and _brackets(body)):
        _look(body, most)


def unique(body: bytes, known: int) -> None:
    """InvalidRequest for a body with a member twice in one object: parsers disagree about which of the two counts.

    Valid JSON has one colon a member outside of strings, and a parsed object has each name once. `known` is how many
    members are in what was parsed of `body`, or fewer: each of them took a colon at least.
    """
    colons = body.count(b":")
    if colons == known:
        return  # as most: no colon in a string, no member that is unknown, null or there twice
    try:
        members = _members(_plain.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        members = -1
    if members < 0:
        raise InvalidRequest("the request body is not valid JSON")
    if colons != members and _outside(body).count(b":") != members:
        raise InvalidRequest("the request body has a member twice")


def _brackets(body: bytes) -> bool:
    """Whether brackets are nested deeper than that, those in strings counted, too; batches have many, side by side."""
    return _deeper(body.translate(_ROUND, _OTHERS))


def _look(body: bytes, most: int) -> None:
    text = _unescaped(body)
    if text.count(b'"') > 2 * most:
        raise InvalidRequest(f"the request body has more than {most} strings")
    outside = b"".join(text.split(b'"')[::2])
    if outside.count(b",") > most:
        raise InvalidRequest(f"the request body has more than {most} values")
    if _deeper(outside.translate(_ROUND, _OTHERS)):
        raise InvalidRequest(f"the request body is nested deeper than {MAX_DEPTH} levels")


def _deeper(brackets: bytes) -> bool:
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"()", b"")  # each round takes the innermost level away
    return bool(brackets)


def _outside(body: bytes) -> bytes:
    """`body` without its strings."""
    return b"".join(_unescaped(body).split(b'"')[::2])


def _unescaped(body: bytes) -> bytes:
    """Only quotes that begin or end a string are left."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body


def _members(value: Any) -> int:
    """How many members `value` and all that is in it have."""
    if type(value) is dict:
        count = len(value)
        for one in value.values():
            if type(one) is not str and (type(one) is dict or type(one) is list):
                count += _members(one)
        return count
    return sum(_members(one) for one in value if type(one) is dict or type(one) is list) if type(value) is list else 0
