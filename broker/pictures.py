"""Which pictures a logo may be: by their first bytes, never by what somebody says they are."""

from __future__ import annotations

from broker.models.people import MAX_LOGO

_SIGNS = [(b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg")]


def media_type(picture: bytes) -> str | None:
    """image/png, image/jpeg, image/webp, or None for anything else. SVG is refused: it can hold scripts."""
    if len(picture) > MAX_LOGO:
        return None
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for sign, kind in _SIGNS if picture.startswith(sign)), None)
