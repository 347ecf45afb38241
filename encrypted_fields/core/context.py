"""Canonical bytes for "who and what": the associated data of every seal. Format: docs/formats.md section 1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

MAX_PART = 4096


def canonical(label: str, *parts: bytes) -> bytes:
    """`u32(len(label)) ‖ label ‖ u32(number of parts) ‖ (u32(len(part)) ‖ part)…`, all lengths big-endian.

    No two different inputs give the same bytes: ("ab", "c") and ("a", "bc") differ in their lengths.
    Raises ValueError for an empty label or a part above 4,096 bytes.
    """
    head = label.encode()
    if not head:
        raise ValueError("a canonical encoding needs a label")
    return b"".join((_u32(len(head)), head, _u32(len(parts)), *map(_part, parts)))


@dataclass(frozen=True, slots=True)
class ValueContext:
    """Where one stored value lives. `row` is the canonical primary key, or None: the value is not bound to its row."""

    tenant: str
    model: str
    field: str
    row: bytes | None = None

    def aad(self, label: str = "cmk/value/1") -> bytes:
        fixed = _fixed(label, self.tenant, self.model, self.field, self.row is not None)
        return fixed if self.row is None else fixed + _part(self.row)


@dataclass(frozen=True, slots=True)
class KeyContext:
    """What a key wrapped by the tenant's KMS is for. It reaches the KMS on every call and its own log.

    `purpose` is "dek", "lek" or "secret"; `config` is the number of the KMS configuration. `place` is "" but for a
    tenant secret: the digest of its type and path (docs/formats.md section 7), so that none can stand in for another.
    """

    vendor: str
    tenant: str
    config: int
    purpose: str
    place: str = ""

    def parts(self) -> tuple[bytes, ...]:
        """What a key is bound to, in the order of every canonical encoding of it."""
        found = (self.vendor, self.tenant, str(self.config), self.purpose, *([self.place] if self.place else []))
        return tuple(part.encode() for part in found)

    def facts(self) -> dict[str, str]:
        """For key services that take a map of strings (AWS encryption context)."""
        found = {
            "cmk-vendor": self.vendor,
            "cmk-tenant": self.tenant,
            "cmk-config": str(self.config),
            "cmk-purpose": self.purpose,
        }
        return {**found, "cmk-place": self.place} if self.place else found

    def aad(self) -> bytes:
        """For key services that take bytes."""
        return canonical("cmk/key/1", *self.parts())


@lru_cache(maxsize=1024)  # the same for every row of a column: only the row's own part is new
def _fixed(label: str, tenant: str, model: str, field: str, bound: bool) -> bytes:
    """The canonical bytes up to the row's part, which follows if `bound`."""
    whole = canonical(label, tenant.encode(), model.encode(), field.encode(), *([b""] if bound else []))
    return whole[:-4] if bound else whole  # without the empty part's length


def _part(part: bytes) -> bytes:
    if len(part) > MAX_PART:
        raise ValueError(f"a context part is longer than {MAX_PART} bytes")
    return _u32(len(part)) + part


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
