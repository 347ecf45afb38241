"""Tenant secrets as proxy and portal speak of them: types, the digest of a place, and how a rotation settles."""

from __future__ import annotations

from hashlib import sha256

from encrypted_fields.core.context import canonical

TYPES = ("deterministic", "vector", "search")
MAX_ID = 2**32 - 1  # clients write it into four bytes of every ciphertext; 0 means "absent" to one of them
MAX_PATH = 4096  # characters
CACHE_SECONDS = 5.0  # a proxy asks the portal again after this time
SETTLE_SECONDS = 30  # a new secret is decrypted with for so long before it encrypts: by then every proxy knows it


def place_of(kind: str, path: str) -> str:
    """64 hex digits that stand for a type and a path: what a wrapped secret is bound to, and how the portal finds it.

    Raises ValueError for a path that is longer than 4,096 characters or holds U+0000, which no database takes.
    """
    if kind not in TYPES or not is_path(path):
        raise ValueError("not the type and path of a tenant secret")
    return sha256(canonical("cmk/secret/1", kind.encode(), sha256(path.encode()).digest())).hexdigest()


def is_path(path: object) -> bool:
    """Any text of at most 4,096 characters, also none, without U+0000."""
    if not isinstance(path, str) or len(path) > MAX_PATH or "\0" in path:
        return False
    try:
        path.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        return False
    return True
