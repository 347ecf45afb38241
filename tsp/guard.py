"""Who is let in: the API key before the body is read, then what the key is good for, rates and budgets. T-13, T-14."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from encrypted_fields.core.errors import AuditUnavailable, CmkError, Overloaded, Unauthorized, UnknownTenant
from tsp import wire
from tsp.auth import ApiKeys, Caller
from tsp.contract import events
from tsp.limits import Budget, Limits, Rate
from tsp.ports import Directory
from tsp.witness import Witness

WRAP, UNWRAP, REKEY, DERIVE, REPORT, EVENT = OPERATIONS = ("wrap", "unwrap", "rekey", "derive", "report", "event")
FAILED_PER_SECOND, FAILED_AT_ONCE = 10, 100  # wrong API keys from one address until they are answered more shortly
_TELL_SECONDS = 60.0
_log = logging.getLogger(__name__)


class RateLimited(Overloaded):
    """Over a limit of this proxy's settings; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in, and what its tenant's trail learns."""

    error: CmkError
    action: str
    kind: str
    reason: str


class Guard:
    """`admit` knows the headers, `problem` the body. `refused` counts: failed-auth, scope, key, tenant, budget.

    Good keys are never held back by bad ones: a wrong key is counted by its address, after the right ones were let in.
    """

    def __init__(
        self,
        keys: ApiKeys,
        directory: Directory,
        witness: Witness,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._directory = directory
        self._witness = witness
        self._clock = clock
        self._failed = Rate(FAILED_PER_SECOND, FAILED_AT_ONCE)
        self._by_key = Rate(limits.per_key, limits.per_key) if limits.per_key else None
        self._by_tenant = Rate(limits.per_tenant, limits.per_tenant) if limits.per_tenant else None
        self._budget = Budget(limits.unwrap_budget) if limits.unwrap_budget else None
        self._most = limits.unwrap_budget
        self._told: dict[tuple[str, str], float] = {}
        self.refused: Counter[str] = Counter()

    def admit(self, header: bytes | None, address: str) -> Caller:
        """Whose key it is. Unauthorized for a wrong one; RateLimited for too many wrong ones, or for too many calls."""
        try:
            caller = self._keys.check(header)
        except Unauthorized:
            wait = self._failed.take(address, self._clock())
            if not wait:
                raise
            caller = None
        if caller is None:
            self.refused["failed-auth"] += 1
            raise RateLimited("too many requests without a valid API key", wait)
        if self._by_key is not None and (wait := self._by_key.take(caller.name, self._clock())):
            self.refused["key"] += 1
            raise RateLimited("this API key is used more often than TSP_RATE_PER_KEY allows", wait)
        return caller

    def problem(self, caller: Caller, operation: str, request: wire.Request) -> Refusal | None:
        """What keeps the request out, None for nothing. What is let in counts towards its tenant's limits."""
        name = request.tenant_id
        if caller.operations is not None and operation not in caller.operations:
            return _beyond(caller, f"the operation '{operation}'")
        if caller.tenants is not None and not caller.tenants.issuperset(_tenants(request)):
            return _beyond(caller, "this tenant")
        if self._by_tenant is None and self._budget is None:
            return None
        try:
            self._directory.tenant(name)
        except UnknownTenant:
            return None  # has no bucket, and gets its answer from the service
        now = self._clock()
        if self._by_tenant is not None and (wait := self._by_tenant.take(name, now)):
            error = RateLimited("this tenant's requests come more often than TSP_RATE_PER_TENANT allows", wait)
            return Refusal(error, events.LIMIT_REACHED, "tenant", error.message)
        count = _unwraps(request) if self._budget is not None else 0
        if self._budget is not None and count and (wait := self._budget.take(name, count, now)):
            error = RateLimited(f"the budget of {self._most} unwrapped keys a minute for this tenant is used up", wait)
            return Refusal(error, events.LIMIT_REACHED, "budget", error.message)
        return None

    async def tell(self, refusal: Refusal, request: wire.Request, ray: str) -> None:
        """Count it and tell the tenant's trail: of each key out of its scope, of a limit once a minute."""
        self.refused[refusal.kind] += 1
        try:
            tenant = self._directory.tenant(request.tenant_id)
        except UnknownTenant:
            return
        if refusal.action == events.LIMIT_REACHED and not self._due(tenant.name, refusal.kind):
            return
        event = self._witness.denied(tenant, request, ray, refusal.action, refusal.error.code, refusal.reason)
        try:
            await self._witness.record([event])
        except AuditUnavailable:  # the answer is no in any case
            _log.error("a refusal could not be recorded", extra={"tenant": tenant.name, "ray_id": ray})

    def _due(self, tenant: str, kind: str) -> bool:
        now = self._clock()
        if now - self._told.get((tenant, kind), float("-inf")) < _TELL_SECONDS:
            return False
        self._told = {who: at for who, at in self._told.items() if now - at < _TELL_SECONDS}
        self._told[tenant, kind] = now
        return True


def _beyond(caller: Caller, what: str) -> Refusal:
    error = Unauthorized("this API key may not do this: ask the operator of the proxy for its tenants and operations")
    return Refusal(error, events.ACCESS_DENIED, "scope", f"the API key '{caller.name}' is not good for {what}")


def _tenants(request: wire.Request) -> tuple[str, ...]:
    if isinstance(request, (wire.Rekey, wire.BatchRekey)):
        return request.tenant_id, request.new_tenant_id
    return (request.tenant_id,)


def _unwraps(request: wire.Request) -> int:
    if isinstance(request, wire.Unwrap):  # and Rekey, which is one
        return 1
    return len(request.edeks) if isinstance(request, wire.BatchUnwrap) else 0  # and BatchRekey
