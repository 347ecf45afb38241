"""Canonical bytes for "who and what": the associated data of every seal. Format: docs/formats.md section 1."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PART = 4096


def canonical(label: str, *parts: bytes) -> bytes:
    """`u32(len(label)) ‖ label ‖ u32(number of parts) ‖ (u32(len(part)) ‖ part)…`, all lengths big-endian.

    No two different inputs give the same bytes: ("ab", "c") and ("a", "bc") differ in their lengths.
    Raises ValueError for an empty label or a part above 4,096 bytes.
    """
    head = label.encode()
    if not head:
        raise ValueError("a canonical encoding needs a label")
    out = [len(head).to_bytes(4, "big"), head, len(parts).to_bytes(4, "big")]
    for part in parts:
        if len(part) > MAX_PART:
            raise ValueError(f"a context part is longer than {MAX_PART} bytes")
        out.append(len(part).to_bytes(4, "big"))
        out.append(part)
    return b"".join(out)


@dataclass(frozen=True, slots=True)
class ValueContext:
    """Where one stored value lives. `row` is the canonical primary key, or None: the value is not bound to its row."""

    tenant: str
    model: str
    field: str
    row: bytes | None = None

    def aad(self, label: str = "cmk/value/1") -> bytes:
        bound = () if self.row is None else (self.row,)
        return canonical(label, self.tenant.encode(), self.model.encode(), self.field.encode(), *bound)


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
