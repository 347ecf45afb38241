"""Names that files are stored under: their own, and random characters that make each name a fresh one."""

from __future__ import annotations

import os
import posixpath
import re
from typing import Any

from django.core.exceptions import SuspiciousFileOperation

TOKEN = re.compile(r"_([0-9a-f]{16})(?=(\.[^.]*)?$)")
PRIVATE = re.compile(r"(?:^|/)([0-9a-f]{32})(?=(\.[^.]*)?$)")


def without_token(name: str) -> str:
    """The last part of a stored name as it was before it became a fresh one."""
    return TOKEN.sub("", os.path.basename(name))


def with_token(field: Any, name: str, token: str) -> str:
    """`name` with `token` before its extension, cut to the field's `max_length`. SuspiciousFileOperation if that is too
    short for it."""
    folder, base = posixpath.split(name)
    root, ext = os.path.splitext(base)
    room = (field.max_length or len(name) + len(token)) - len(posixpath.join(folder, token + ext))
    if room < (len(root) if not token else 1):
        raise SuspiciousFileOperation(
            f"{field.name}: max_length={field.max_length} is too short for a fresh name in {folder!r}"
        )
    return posixpath.join(folder, root[:room] + token + ext)
