"""Making and opening wrapped keys, by the tenant's key service or under its lease. Knows no audit, no HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import CmkError, KmsRefused, KmsUnreachable
from encrypted_fields.core.memory import erase, wipe
from encrypted_fields.core.protocol import DEK_BYTES
from tsp import edek
from tsp.contract.unshown import Unshown
from tsp.gate import KmsGate
from tsp.leases.cache import KeyState, Leases
from tsp.leases.lease import Lease, Moment
from tsp.ports import Kms, Tenant


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


class Keyring:
    """`patience`: seconds that a call may wait for a free place at the key service; None: no longer than the call."""

    def __init__(self, gate: KmsGate, leases: Leases) -> None:
        self._gate = gate
        self._leases = leases

    async def make(
        self,
        tenant: Tenant,
        kms: Kms,
        dek: bytes | bytearray | None = None,
        patience: float | None = None,
        place: str = "",
    ) -> Held:
        """A new 32-byte key (or `dek`, when one is re-wrapped) and its EDEK under `kms`.

        With `place` it is the tenant secret of that place (tsp.contract.secrets), which opens nowhere else.
        """
        key = os.urandom(DEK_BYTES) if dek is None else dek
        state = self._leases.state(tenant.name, kms.config)
        if kms.leasing.enabled:
            return _wrapped(kms, state, await self._leases.for_wrap(tenant, kms), key, place)
        grip = Grip(kms.config, False, state, state.generation, None)
        context = _context(tenant, kms, place)
        content = await self.wrap(tenant, kms, key, context, patience)
        return Held(key, edek.serialize(kms.config, content), edek.fingerprint(content), grip)

    async def open(
        self, tenant: Tenant, kms: Kms, parsed: edek.Edek, patience: float | None = None, place: str = ""
    ) -> Held:
        """The key in `parsed`. KmsUnwrapFailed if it was not made for this tenant, configuration, vendor and place."""
        state = self._leases.state(tenant.name, kms.config)
        if parsed.elek is not None:
            lease = await self._leases.for_unwrap(tenant, kms, parsed.elek, parsed.digest)
            return _unwrapped(kms, state, lease, parsed, place)
        grip = Grip(kms.config, False, state, state.generation, None)
        context = _context(tenant, kms, place)
        key = await self.unwrap(tenant, kms, parsed.content, context, patience)
        return Held(key, b"", edek.fingerprint(parsed.content), grip)

    def made(self, tenant: Tenant, kms: Kms, now: Moment, dek: bytes | bytearray | None = None) -> Held | None:
        """What `make` gives, at once if its lease is in hand; None if somebody must be asked first."""
        if not kms.leasing.enabled:
            return None
        state = self._leases.state(tenant.name, kms.config)
        lease = self._leases.to_wrap(state, kms, now)
        return None if lease is None else _wrapped(kms, state, lease, dek or os.urandom(DEK_BYTES), "")

    def made_many(self, tenant: Tenant, kms: Kms, count: int) -> list[Held]:
        """`count` new keys the same way; none if somebody must be asked first."""
        if not kms.leasing.enabled:
            return []
        state = self._leases.state(tenant.name, kms.config)
        lease = self._leases.to_wrap(state, kms, self._leases.now())
        if lease is None:
            return []
        drawn = os.urandom(count * DEK_BYTES)
        keys = [drawn[at : at + DEK_BYTES] for at in range(0, len(drawn), DEK_BYTES)]
        erase(drawn)
        mark, grip = edek.fingerprint, _grip(kms, state, lease)
        made = lease.wrap_many(keys)
        return [Held(key, wrapped, mark(content), grip) for key, (wrapped, content) in zip(keys, made, strict=True)]

    def opened(self, tenant: Tenant, kms: Kms, parsed: edek.Edek, now: Moment) -> Held | None:
        """What `open` gives, the same way."""
        if parsed.elek is None:
            return None
        state = self._leases.state(tenant.name, kms.config)
        lease = self._leases.to_unwrap(state, parsed.digest, now)
        return None if lease is None else _unwrapped(kms, state, lease, parsed, "")

    def opening(self, tenant: Tenant, now: Moment) -> Callable[[bytes], Held | None]:
        """`opened` for many EDEKs of one moment: each leased key is looked up once."""
        known: dict[bytes, tuple[Callable[[bytes], bytes], Grip]] = {}
        mark = edek.fingerprint

        def opened(data: bytes) -> Held | None:
            frame, content = edek.split(data)
            found = known.get(frame)
            if found is not None:
                return Held(found[0](content), b"", mark(content), found[1])
            parsed = edek.parse(data, tenant.name)
            held = self.opened(tenant, tenant.kms_for(parsed.config), parsed, now)
            if frame and held is not None and held.grip.lease is not None:
                known[frame] = held.grip.lease.unwrapping(), held.grip
            return held

        return opened

    def now(self) -> Moment:
        return self._leases.now()

    def release(self, grip: Grip, now: Moment | None = None) -> None:
        """The last look before a key leaves: KmsRefused if the tenant said no since it was taken in hand (R-5)."""
        if grip.state.generation != grip.generation:
            raise KmsRefused
        if grip.lease is not None and not grip.lease.usable(now or self._leases.now()):
            raise KmsUnreachable

    def releasing(self) -> Callable[[Grip], CmkError | None]:
        """`release` for many keys of one moment, each grip looked at once: what keeps its keys back, or None."""
        now = self.now()
        looked: dict[Grip, CmkError | None] = {}

        def refusal(grip: Grip) -> CmkError | None:
            if grip not in looked:
                try:
                    self.release(grip, now)
                    looked[grip] = None
                except CmkError as error:
                    looked[grip] = error.with_traceback(None)
            return looked[grip]

        return refusal

    async def wrap(
        self, tenant: Tenant, kms: Kms, key: bytes | bytearray, context: KeyContext, patience: float | None = None
    ) -> bytes:
        """The direct content of `key`."""
        blob = await self._ask(tenant, kms, "wrap", partial(kms.adapter.wrap, key, context), patience)
        return edek.direct(key, context, bytes(blob))

    async def unwrap(
        self, tenant: Tenant, kms: Kms, content: bytes, context: KeyContext, patience: float | None = None
    ) -> bytearray:
        """The key of a direct content, checked against its commitment."""
        blob = edek.blob_of(content)
        key = bytearray(await self._ask(tenant, kms, "unwrap", partial(kms.adapter.unwrap, blob, context), patience))
        try:
            edek.check_direct(content, key, context)
        except Exception:
            wipe(key)
            raise
        return key

    async def _ask(
        self,
        tenant: Tenant,
        kms: Kms,
        operation: str,
        work: partial[bytes] | partial[bytearray],
        patience: float | None,
    ) -> bytes | bytearray:
        place = (tenant.name, kms.config)
        try:
            found: bytes | bytearray = await self._gate.call(
                place, operation, work, patience=patience, provider=kms.adapter.label
            )
        except KmsRefused as error:
            self._leases.refuse(*place, error)  # one refusal ends the leases of the same key, too
            raise
        self._leases.accepted(*place)
        return found


def _wrapped(kms: Kms, state: KeyState, lease: Lease, key: bytes | bytearray, place: str) -> Held:
    wrapped, content = lease.wrap(key, place)
    return Held(key, wrapped, edek.fingerprint(content), _grip(kms, state, lease))


def _unwrapped(kms: Kms, state: KeyState, lease: Lease, parsed: edek.Edek, place: str) -> Held:
    key, mark = lease.unwrap(parsed.content, place), edek.fingerprint(parsed.content)
    return Held(key, b"", mark, _grip(kms, state, lease))


def _grip(kms: Kms, state: KeyState, lease: Lease) -> Grip:
    return Grip(kms.config, True, state, state.generation, lease)


def _context(tenant: Tenant, kms: Kms, place: str) -> KeyContext:
    return KeyContext(tenant.vendor, tenant.name, kms.config, "secret" if place else "dek", place)
