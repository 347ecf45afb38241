"""Proofs that travel: who renewed a leased key says so, and only holders of that very key can say or check it. T-9."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from encrypted_fields.core.context import canonical

_LABEL = "cmk/lease/proof/1"
_TIME, _MAC = 8, 32
SIZE = _TIME + _MAC


def make(lek: bytes | bytearray | memoryview, tenant: str, config: int, digest: bytes, started: float) -> bytes:
    """`u64 ms since 1970 of the start of the key service's unwrap ‖ HMAC-SHA256` under a key derived from the LEK."""
    when = int(started * 1000).to_bytes(_TIME, "big")  # rounded down: a proof is never younger than it says
    return when + _mac(lek, tenant, config, digest, when)


def started(proof: bytes, lek: bytes | bytearray | memoryview, tenant: str, config: int, digest: bytes) -> float | None:
    """When the proved unwrap started, in wall seconds; None for anything that no holder of this LEK made."""
    when = proof[:_TIME]
    if len(proof) != SIZE or not hmac.compare_digest(proof[_TIME:], _mac(lek, tenant, config, digest, when)):
        return None
    return int.from_bytes(when, "big") / 1000


def _mac(lek: bytes | bytearray | memoryview, tenant: str, config: int, digest: bytes, when: bytes) -> bytes:
    key = HKDF(SHA256(), 32, None, _LABEL.encode()).derive(lek)
    return hmac.digest(key, canonical(_LABEL, digest, tenant.encode(), str(config).encode(), when), "sha256")
