"""For whom and by whom: the active tenant and the facts of the request that the tenant's audit trail shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from encrypted_fields import conf
from encrypted_fields.core.protocol import Metadata

MOST_REASON = 200  # characters
_tenant: ContextVar[str | None] = ContextVar("cmk_tenant", default=None)


class NoTenant(ValueError):
    """Neither the row nor the context says whose key to use. Nothing was written."""


class TenantConflict(ValueError):
    """The row belongs to one tenant and the active tenant is another. Nothing was read or written."""


class BrokenFacts(ValueError):
    """The facts of this task were changed on their way, or signed by somebody else. Nothing was read or written."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Who asks, from where and why; None means: not known, or the service itself.

    `broken` says what is wrong with facts that came from elsewhere (a task's message): no key is asked for with them.
    """

    requesting_id: str | None = None
    source_ip: str | None = None
    request_id: str | None = None
    reason: str | None = None
    custom: Mapping[str, str] = field(default_factory=dict)
    broken: str = ""


_facts: ContextVar[Facts] = ContextVar("cmk_facts", default=Facts())  # noqa: B039 - frozen


current_tenant: Callable[[], str | None] = _tenant.get  # asked once a value, so no function of ours around it


def current_facts() -> Facts:
    return _facts.get()


@contextmanager
def tenant(name: object) -> Iterator[None]:
    """`with tenant("north"):` rows without a tenant of their own belong to north; rows of others are refused."""
    token = _tenant.set(tenant_name(name))
    try:
        yield
    finally:
        _tenant.reset(token)


@contextmanager
def acting(
    requesting_id: str | None = None,
    *,
    source_ip: str | None = None,
    request_id: str | None = None,
    reason: str | None = None,
    custom: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """What the audit trail of the tenant shows for each key used inside, and what the policy decides by.

    `reason`: why, in at most 200 characters; it travels as the custom field "reason".
    """
    if reason is not None and len(reason) > MOST_REASON:
        raise ValueError(f"a reason is at most {MOST_REASON} characters long")
    token = _facts.set(Facts(requesting_id, source_ip, request_id, reason, dict(custom or {})))
    try:
        yield
    finally:
        _facts.reset(token)


@contextmanager
def by(who: object, reason: str) -> Iterator[None]:
    """The facts as they are, with a reason; and with `who`, where nobody has said who asks."""
    facts = _facts.get()
    token = _facts.set(replace(facts, requesting_id=facts.requesting_id or str(who), reason=reason))
    try:
        yield
    finally:
        _facts.reset(token)


def tenant_name(value: object) -> str:
    """The tenant's name as the proxy knows it; NoTenant for None, empty text and booleans."""
    name = "" if value is None or isinstance(value, bool) else str(value)
    if not name:
        raise NoTenant("the tenant is empty: set it on the row, or use `with tenant(name):`")
    return name


def agreed(row: str | None) -> str:
    """The tenant of a row whose own value is `row` (None: the row has none). The row wins and is never contradicted."""
    active = _tenant.get()
    if row is None:
        if active is None:
            raise NoTenant(
                'no tenant: give the field tenant_from="<attribute of the row>", or activate one '
                "with `with tenant(name):` or the middleware"
            )
        return active
    if active is not None and active != row:
        raise TenantConflict("the row belongs to another tenant than the active one")
    return row


def metadata(tenant: str, label: str, object_id: str | None) -> Metadata:
    """The members of a request to the proxy for this tenant, at this moment."""
    facts = _facts.get()
    if facts.broken:
        raise BrokenFacts(facts.broken)
    return Metadata(
        tenant=tenant,
        requesting_id=facts.requesting_id or conf.requesting_id(),
        data_label=label,
        source_ip=facts.source_ip,
        object_id=object_id,
        request_id=facts.request_id,
        custom=facts.custom if facts.reason is None else {**facts.custom, "reason": facts.reason},
    )
