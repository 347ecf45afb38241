"""The page that tells the whole story: who may have which key, what the audit trail learns, and when a key leaves.

Each call has the same four steps: take the key in hand, make its event durable, look once more whether the tenant
still says yes, and only then answer. A refusal is an event, too. A name that is no tenant of ours has no audit trail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NoReturn

from encrypted_fields.core.errors import AuditUnavailable, CmkError
from encrypted_fields.core.memory import wipe
from tsp import batch, edek, wire
from tsp.contract import events
from tsp.held import Found, Held
from tsp.keyring import Keyring, new_keys
from tsp.ports import Directory, Tenant
from tsp.turn import Ask, Turn
from tsp.witness import Witness

Taken = dict[str, Held | CmkError]
Moved = tuple[Held, Held]  # the same key, under the old and under the new EDEK


class Service:
    """The wire API without HTTP. `ray` is the id of the request, the same in reply, log and event."""

    def __init__(self, directory: Directory, keyring: Keyring, witness: Witness) -> None:
        self._directory = directory
        self._keyring = keyring
        self._witness = witness
        self._turn = Turn(witness, keyring)

    async def wrap(self, request: wire.Request, ray: str) -> wire.WrapReply:
        """A new key under the tenant's primary configuration."""
        tenant = self._directory.tenant(request.tenant_id)

        async def make() -> Held:
            return await self._keyring.make(tenant, tenant.primary())

        held = await self._take(Ask(tenant, request, ray, events.WRAP), make)
        return wire.WrapReply(bytes(held.dek), held.edek)

    async def unwrap(self, request: wire.Unwrap, ray: str) -> wire.DekReply:
        """The key in an EDEK that was made for this tenant."""
        data = wire.edek(request.encrypted_document_key)
        tenant = self._directory.tenant(request.tenant_id)

        async def take() -> Held:
            return await self._open(tenant, data)

        held = await self._take(Ask(tenant, request, ray, events.UNWRAP, data), take)
        return wire.DekReply(bytes(held.dek))

    async def rekey(self, request: wire.Rekey, ray: str) -> wire.WrapReply:
        """The same key, wrapped again: for today's primary, or for another tenant. Both trails learn of it."""
        data = wire.edek(request.encrypted_document_key)
        tenant, target = self._directory.tenant(request.tenant_id), self._directory.tenant(request.new_tenant_id)
        try:
            old = await self._open(tenant, data)
            new = await self._keyring.make(target, target.primary(), old.dek)
        except CmkError as error:
            await self._refuse(tenant, request, ray, events.REKEY, error)
        made = (
            self._witness.used(tenant, request, ray, events.REKEY, old),
            self._witness.used(target, request, ray, events.REKEY, new),
        )
        await self._witness.record(made)
        try:
            for one in (old, new):
                self._keyring.release(one.grip)
        except CmkError as error:
            await self._refuse(tenant, request, ray, events.REKEY, error)
        return wire.WrapReply(bytes(new.dek), new.edek)

    async def batch_wrap(self, request: wire.BatchWrap, ray: str) -> wire.BatchReply:
        """A new key for each id. Without a primary configuration the whole request fails."""
        tenant = self._directory.tenant(request.tenant_id)
        try:
            kms = tenant.primary()
        except CmkError as error:
            await self._refuse(tenant, request, ray, events.WRAP, error)

        def made(names: list[str]) -> Sequence[Held | None]:
            return self._keyring.made(tenant, kms, new_keys(len(names))) or [None] * len(names)

        async def make(_: str) -> Held:
            return await self._keyring.make(tenant, kms, patience=batch.PATIENCE)

        taken = await batch.each(dict.fromkeys(request.document_ids), made, make)
        return await self._answer(tenant, request, ray, events.WRAP, taken)

    async def batch_unwrap(self, request: wire.BatchUnwrap, ray: str) -> wire.BatchReply:
        """The key of each EDEK, or its own failure."""
        tenant = self._directory.tenant(request.tenant_id)
        edeks = request.by_id()

        def opened(names: list[str]) -> list[Found]:
            return self._keyring.opened(tenant, wire.edeks([edeks[name] for name in names]))

        async def take(name: str) -> Held:
            return await self._open(tenant, wire.edek(edeks[name]), batch.PATIENCE)

        taken = await batch.each(edeks, opened, take)
        return await self._answer(tenant, request, ray, events.UNWRAP, taken)

    async def batch_rekey(self, request: wire.BatchRekey, ray: str) -> wire.BatchReply:
        """`rekey` of each EDEK, or its own failure. No key leaves: the reply has the new EDEKs only."""
        tenant, target = self._directory.tenant(request.tenant_id), self._directory.tenant(request.new_tenant_id)
        edeks = request.by_id()
        try:
            kms = target.primary()
        except CmkError as error:
            await self._refuse(tenant, request, ray, events.REKEY, error)

        def moved(names: list[str]) -> Iterator[batch.Found[Moved]]:
            found = self._keyring.opened(tenant, wire.edeks([edeks[name] for name in names]))
            held = [one for one in found if isinstance(one, Held)]
            made = iter(self._keyring.made(target, kms, [one.dek for one in held]))
            for old in found:
                if isinstance(old, Held):
                    new = next(made, None)
                    yield None if new is None else (old, new)
                else:
                    yield old

        async def move(name: str) -> Moved:
            old = await self._open(tenant, wire.edek(edeks[name]), batch.PATIENCE)
            return old, await self._keyring.make(target, kms, old.dek, batch.PATIENCE)

        taken = await batch.each(edeks, moved, move)
        try:
            return await self._moved(tenant, target, request, ray, taken)
        finally:
            for one in taken.values():
                if isinstance(one, tuple) and isinstance(one[0].dek, bytearray):
                    wipe(one[0].dek)

    async def report(self, request: wire.SecurityEvent | wire.ReportOperations, ray: str) -> None:
        """What the SaaS tells the tenant's trail by itself: a security event, or the uses of keys that it kept."""
        tenant = self._directory.tenant(request.tenant_id)
        if isinstance(request, wire.SecurityEvent):
            at = None if request.timestamp_millis is None else request.timestamp_millis / 1000
            await self._witness.record([self._witness.told(tenant, request, ray, request.name(), at)])
            return
        told = []
        for text, uses in request.operations.items():
            parsed = edek.parse(wire.edek(text), tenant.name)
            for action, count in ((events.WRAP, uses.wraps), (events.UNWRAP, uses.unwraps)):
                if count:
                    told.append(self._witness.reported(tenant, request, ray, parsed, action, count))
        await self._witness.record(told)

    async def _open(self, tenant: Tenant, data: bytes, patience: float | None = None) -> Held:
        parsed = edek.parse(data, tenant.name)
        return await self._keyring.open(tenant, tenant.kms_for(parsed.config), parsed, patience)

    async def _take(self, ask: Ask, take: Callable[[], Awaitable[Held]]) -> Held:
        """A key at hand, or what `take` gives. Durable first, then one more look, then the key may go."""
        tenant, request, ray, action = ask.tenant, ask.request, ask.ray, ask.action
        try:
            held = await self._turn.take(ask)
            if held is None:
                held = await take()
                await self._witness.record([self._witness.used(tenant, request, ray, action, held)])
            self._keyring.release(held.grip)  # each request's own, right before its reply
        except AuditUnavailable:
            raise
        except CmkError as error:
            await self._refuse(tenant, request, ray, action, error)
        return held

    async def _refuse(self, tenant: Tenant, request: wire.Request, ray: str, action: str, error: CmkError) -> NoReturn:
        await self._witness.record([self._witness.failed(tenant, request, ray, action, error)])
        raise error

    async def _answer(
        self, tenant: Tenant, request: wire.Request, ray: str, action: str, taken: Taken
    ) -> wire.BatchReply:
        """One event for each id, one wait for all of them, then each key is looked at once more."""
        witness, keys, failures = self._witness, dict[str, wire.DekReply | wire.WrapReply](), {}
        used = witness.using(tenant, request, ray, action, len(taken))
        lines = []
        for name, one in taken.items():
            if isinstance(one, CmkError):
                lines.append(events.line(witness.failed(tenant, request, ray, action, one, name)))
            else:
                lines.append(used(one, name))
        await witness.record(events.Written(lines))
        late, refusal, new = [], self._keyring.releasing(), action == events.WRAP
        for name, one in taken.items():
            if not isinstance(one, CmkError):
                error = refusal(one.grip)
                if error is None:
                    dek = bytes(one.dek)
                    keys[name] = wire.WrapReply(dek, one.edek) if new else wire.DekReply(dek)
                    continue
                late.append(witness.failed(tenant, request, ray, action, error, name))
                one = error
            failures[name] = wire.failure(one)
        await witness.record(late)
        return wire.BatchReply(keys, failures)

    async def _moved(
        self, tenant: Tenant, target: Tenant, request: wire.Request, ray: str, taken: dict[str, Moved | CmkError]
    ) -> wire.BatchReply:
        """As `_answer`, with the two events of a rekey for each id, one for either trail."""
        witness, keys, failures = self._witness, dict[str, wire.EdekReply](), {}
        left, came = (witness.using(whose, request, ray, events.REKEY, len(taken)) for whose in (tenant, target))
        lines = []
        for name, one in taken.items():
            if isinstance(one, CmkError):
                lines.append(events.line(witness.failed(tenant, request, ray, events.REKEY, one, name)))
            else:
                lines += (left(one[0], name), came(one[1], name))
        await witness.record(events.Written(lines))
        late, refusal = [], self._keyring.releasing()
        for name, one in taken.items():
            if not isinstance(one, CmkError):
                error = refusal(one[0].grip) or refusal(one[1].grip)
                if error is None:
                    keys[name] = wire.EdekReply(one[1].edek)
                    continue
                late.append(witness.failed(tenant, request, ray, events.REKEY, error, name))
                one = error
            failures[name] = wire.failure(one)
        await witness.record(late)
        return wire.BatchReply(keys, failures)
