"""A key in hand: taken, not released yet, and what must still hold at its release."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from encrypted_fields.core.errors import CmkError
from tsp.contract.unshown import Unshown
from tsp.leases.cache import KeyState
from tsp.leases.lease import Lease


class Grip(Struct, eq=False):
    """What keys in hand have in common: of which configuration they are, and what must still hold at their release."""

    config: int
    leased: bool
    state: KeyState
    generation: int
    lease: Lease | None


class Held(Unshown, eq=False):
    """A key in hand, not released yet: `dek`, its EDEK if it was made here, and its mark in the audit trail."""

    dek: bytes | bytearray
    edek: bytes
    fingerprint: str
    grip: Grip


Found: TypeAlias = Held | CmkError | None  # a key in hand, its failure, or nothing: somebody must be asked first


def taken(config: int, state: KeyState, lease: Lease | None = None) -> Grip:
    """The grip of keys that are taken in hand now, under `lease` if they are leased."""
    return Grip(config, lease is not None, state, state.generation, lease)
