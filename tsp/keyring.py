"""Making and opening wrapped keys, by the tenant's key service or under its lease. Knows no audit, no HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import CmkError, KmsRefused, KmsUnreachable, KmsUnwrapFailed
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import DEK_BYTES
from tsp import edek
from tsp.gate import KmsGate
from tsp.held import Found, Grip, Held, taken
from tsp.leases.cache import KeyState, Leases
from tsp.leases.lease import Lease, Moment
from tsp.ports import Kms, Tenant


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
        grip, context = taken(kms.config, state), _context(tenant, kms, place)
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
        grip, context = taken(kms.config, state), _context(tenant, kms, place)
        key = await self.unwrap(tenant, kms, parsed.content, context, patience)
        return Held(key, b"", edek.fingerprint(parsed.content), grip)

    def made(self, tenant: Tenant, kms: Kms, keys: Sequence[bytes | bytearray]) -> list[Held]:
        """What `make` gives for each of `keys`, at once if their lease is in hand; none if somebody must be asked."""
        if not kms.leasing.enabled:
            return []
        state = self._leases.state(tenant.name, kms.config)
        lease = self._leases.to_wrap(state, kms, self._leases.now())
        if lease is None:
            return []
        mark, grip, wrapped = edek.fingerprint, taken(kms.config, state, lease), lease.wrap_many(keys)
        return [Held(key, whole, mark(content), grip) for key, (whole, content) in zip(keys, wrapped, strict=True)]

    def opened(self, tenant: Tenant, edeks: Sequence[bytes | CmkError]) -> list[Found]:
        """What `open` gives for each of `edeks`, the same way; what is an error already stays one.

        EDEKs of one leased key are the same but for their contents: one look-up, and one call for all of them.
        """
        found: list[Found] = [None] * len(edeks)
        now, groups, known = self._leases.now(), list[_Group](), dict[bytes, _Group]()
        for at, data in enumerate(edeks):
            if isinstance(data, CmkError):
                found[at] = data
                continue
            frame, content = edek.split(data)
            group = known.get(frame)
            if group is None:
                try:
                    parsed = edek.parse(data, tenant.name)
                    group = self._group(tenant, tenant.kms_for(parsed.config), parsed, now)
                except CmkError as error:
                    found[at] = error.with_traceback(None)
                    continue
                if group is None:
                    continue
                content = parsed.content
                groups.append(group)
                if frame:
                    known[frame] = group
            group.places.append(at)
            group.contents.append(content)
        mark = edek.fingerprint
        for group in groups:
            keys, grip = group.lease.unwrap_many(group.contents), group.grip
            for at, key, content in zip(group.places, keys, group.contents, strict=True):
                found[at] = KmsUnwrapFailed() if key is None else Held(key, b"", mark(content), grip)
        return found

    def _group(self, tenant: Tenant, kms: Kms, parsed: edek.Edek, now: Moment) -> _Group | None:
        if parsed.elek is None:
            return None
        state = self._leases.state(tenant.name, kms.config)
        lease = self._leases.to_unwrap(state, parsed.digest, now)
        return None if lease is None else _Group(lease, taken(kms.config, state, lease), [], [])

    def release(self, grip: Grip, now: Moment | None = None) -> None:
        """The last look before a key leaves: KmsRefused if the tenant said no since it was taken in hand (R-5)."""
        if grip.state.generation != grip.generation:
            raise KmsRefused
        if grip.lease is not None and not grip.lease.usable(now or self._leases.now()):
            raise KmsUnreachable

    def releasing(self) -> Callable[[Grip], CmkError | None]:
        """`release` for many keys of one moment, each grip looked at once: what keeps its keys back, or None."""
        now = self._leases.now()
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


def new_keys(count: int) -> list[bytes]:
    """`count` new data keys, asked of the kernel at once: each call lets other threads take the interpreter, and
    getting it back costs more than all the rest of a wrap.

    What was drawn is not zeroed afterwards: a slice of all of it is the very same object, so a key alone would be.
    """
    drawn = os.urandom(count * DEK_BYTES)
    return [drawn[at : at + DEK_BYTES] for at in range(0, len(drawn), DEK_BYTES)]


class _Group(NamedTuple):
    """Contents to be opened under one lease, and where in the request they stand."""

    lease: Lease
    grip: Grip
    places: list[int]
    contents: list[bytes]


def _wrapped(kms: Kms, state: KeyState, lease: Lease, key: bytes | bytearray, place: str) -> Held:
    wrapped, content = lease.wrap(key, place)
    return Held(key, wrapped, edek.fingerprint(content), taken(kms.config, state, lease))


def _unwrapped(kms: Kms, state: KeyState, lease: Lease, parsed: edek.Edek, place: str) -> Held:
    key, mark = lease.unwrap(parsed.content, place), edek.fingerprint(parsed.content)
    return Held(key, b"", mark, taken(kms.config, state, lease))


def _context(tenant: Tenant, kms: Kms, place: str) -> KeyContext:
    return KeyContext(tenant.vendor, tenant.name, kms.config, "secret" if place else "dek", place)
