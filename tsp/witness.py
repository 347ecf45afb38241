"""What the tenant's audit trail learns of a request: who asked, for what, and how it ended. Never a key or a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from encrypted_fields.core.errors import CmkError, KmsAccountIssue, KmsConfigDisabled, KmsRefused, NoPrimaryKms
from tsp import wire
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.edek import Edek, fingerprint
from tsp.held import Grip, Held
from tsp.ports import Tenant, Trail

_NO = (KmsRefused, KmsAccountIssue, KmsConfigDisabled, NoPrimaryKms)  # the tenant, or what it configured, said no
_LONGEST = 1024


class Witness:
    """Makes the events of requests, and records them: `record` returns only when they are durable."""

    def __init__(self, trail: Trail, tsp: str) -> None:
        self._trail = trail
        self._tsp = tsp

    async def record(self, made: Sequence[AuditEvent]) -> None:
        """AuditUnavailable when they cannot be kept; then nothing is released."""
        if made:
            await self._trail.record(made)

    def used(
        self,
        tenant: Tenant,
        request: wire.Request,
        ray: str,
        action: str,
        held: Held,
        stamp: tuple[str, str] | None = None,
    ) -> AuditEvent:
        """A key is about to be released. `stamp` is one of `events.stamps`."""
        icl, (identity, at) = request.icl_fields, stamp or (events.new_id(), events.timestamp())
        return AuditEvent(
            id=identity, time=at, vendor=tenant.vendor, tenant=tenant.name, action=action,
            outcome=events.SUCCESS, requesting_id=icl.requesting_id, data_label=icl.data_label or "",
            source_ip=icl.source_ip or "", object_id=icl.object_id or "", request_id=icl.request_id or "",
            ray_id=ray, tsp=self._tsp, config=held.grip.config, leased=held.grip.leased, edek=held.fingerprint,
            custom=request.custom_fields or {},
        )  # fmt: skip

    def using(
        self, tenant: Tenant, request: wire.Request, ray: str, action: str, most: int
    ) -> Callable[[Held, str], events.Line]:
        """`used` for the keys of one request, `most` of them, each with its id in the batch; as lines."""
        stamps, blanks = iter(events.stamps(most)), dict[Grip, events.Blank]()
        target, who = request.icl_fields.object_id, tenant.name

        def used(held: Held, name: str) -> events.Line:
            stamp, blank = next(stamps), blanks.get(held.grip)
            if blank is None:  # the keys of one grip have all else in common
                blank = blanks[held.grip] = events.Blank(self.used(tenant, request, ray, action, held, stamp))
            return who, blank.line(stamp[0], held.fingerprint, target or name[:_LONGEST])

        return used

    def failed(
        self, tenant: Tenant, request: wire.Request, ray: str, action: str, error: CmkError, name: str = ""
    ) -> AuditEvent:
        outcome = events.REFUSED if isinstance(error, _NO) else events.ERROR
        return self._event(tenant, request, ray, action, name, outcome=outcome, code=error.code, reason=error.message)

    def denied(
        self, tenant: Tenant, request: wire.Request, ray: str, action: str, code: int, reason: str
    ) -> AuditEvent:
        """The proxy itself said no: out of the API key's scope, or over a limit."""
        return self._event(tenant, request, ray, action, outcome=events.REFUSED, code=code, reason=reason)

    def told(self, tenant: Tenant, request: wire.Request, ray: str, action: str, at: float | None) -> AuditEvent:
        """A security event of the SaaS; `at` is when it says that it happened, in seconds since 1970."""
        return self._event(tenant, request, ray, action, at=at)

    def reported(
        self, tenant: Tenant, request: wire.Request, ray: str, parsed: Edek, action: str, count: int
    ) -> AuditEvent:
        """`count` uses of a key that the SaaS kept for a while; `reason` says of which kind."""
        mark = fingerprint(parsed.content)
        return self._event(
            tenant, request, ray, events.REPORT, config=parsed.config, leased=parsed.elek is not None, edek=mark,
            count=count, reason=action,
        )  # fmt: skip

    def derived(self, tenant: Tenant, request: wire.Request, ray: str, held: Held, count: int) -> AuditEvent:
        """`count` keys are about to be released that were derived from the tenant secret in `held`."""
        return self._event(
            tenant, request, ray, events.DERIVE, config=held.grip.config, leased=held.grip.leased,
            edek=held.fingerprint, count=count,
        )  # fmt: skip

    def _event(
        self,
        tenant: Tenant,
        request: wire.Request,
        ray: str,
        action: str,
        name: str = "",
        *,
        outcome: str = events.SUCCESS,
        code: int = 0,
        reason: str = "",
        config: int = 0,
        leased: bool = False,
        edek: str = "",
        count: int = 1,
        at: float | None = None,
    ) -> AuditEvent:
        icl = request.icl_fields
        return AuditEvent(
            id=events.new_id(), time=events.timestamp(at), vendor=tenant.vendor, tenant=tenant.name, action=action,
            outcome=outcome, code=code, reason=reason, requesting_id=icl.requesting_id, data_label=icl.data_label or "",
            source_ip=icl.source_ip or "", object_id=icl.object_id or name[:_LONGEST], request_id=icl.request_id or "",
            ray_id=ray, tsp=self._tsp, config=config, leased=leased, edek=edek, count=count,
            custom=request.custom_fields or {},
        )  # fmt: skip
