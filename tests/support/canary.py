"""Secrets that a test plants and that must never come out: in a log, on a screen, in a dump."""

from __future__ import annotations

import base64
import secrets

_planted: dict[str, str] = {}


def plant(what: str) -> str:
    """A fresh secret of 32 characters that no log of the test run may hold; `what` names it when it leaks."""
    return register(what, "cnry" + secrets.token_hex(14))


def register(what: str, secret: str | bytes) -> str:
    """Makes a secret that exists already known to the scan, in each form that it may leak in. Returns it as text."""
    data = secret.encode() if isinstance(secret, str) else secret
    if len(data) < 8:
        raise ValueError("a canary is at least 8 bytes long, or it would be found by chance")
    for form in forms(data):
        _planted[form] = what
    return secret if isinstance(secret, str) else data.hex()


def forms(data: bytes) -> set[str]:
    """How bytes may show: as text, hex, base64 in both alphabets."""
    found = {
        data.hex(),
        base64.b64encode(data).decode().rstrip("="),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
    }
    try:
        found.add(data.decode())
    except UnicodeDecodeError:
        found.add(repr(data)[2:-1])
    return found


def leaks(text: str) -> list[str]:
    """The names of the planted secrets that `text` shows."""
    return sorted({what for form, what in _planted.items() if form in text})


def leaks_in_bytes(dump: bytes) -> list[str]:
    """The names of the planted secrets in a dump, as raw bytes or in one of the forms above."""
    found = {what for form, what in _planted.items() if form.encode() in dump}
    raw = {what for form, what in _planted.items() if _is_hex(form) and bytes.fromhex(form) in dump}
    return sorted(found | raw)


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and len(text) >= 16 and set(text) <= set("0123456789abcdef")
