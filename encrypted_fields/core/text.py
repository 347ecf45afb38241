"""The text form of a stored value, for fixtures: `cmk:1:` and base64 of the very bytes. docs/formats.md section 2."""

from __future__ import annotations

import base64
import binascii

from encrypted_fields.core import envelope
from encrypted_fields.core.errors import InvalidCiphertext

MARK = "cmk:"
SEALED = "cmk:1:"
PLAIN = "cmk:0:"  # before a plain text that begins with the mark by itself


def sealed_text(stored: bytes) -> str:
    return SEALED + base64.b64encode(stored).decode("ascii")


def plain_text(text: str) -> str:
    return PLAIN + text if text.startswith(MARK) else text


def parse(text: str) -> bytes | str:
    """Stored bytes, or a plain text. InvalidCiphertext for what only looks like ours, and for a later version."""
    if not text.startswith(MARK):
        return text
    if text.startswith(PLAIN):
        return text[len(PLAIN) :]
    stored: bytes | None = None
    if text.startswith(SEALED):
        try:
            stored = base64.b64decode(text[len(SEALED) :], validate=True)
        except (binascii.Error, ValueError):
            stored = None
    if stored is None or sealed_text(stored) != text:
        raise InvalidCiphertext
    envelope.parse(stored)
    return stored
