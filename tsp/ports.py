"""What the data plane needs from its neighbours, as shapes: configurations, the audit trail, one active key service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tsp.contract.events import AuditEvent
from tsp.contract.tenant import Leasing
from tsp.kms.base import KmsAdapter


class Kms(Protocol):
    """One key configuration of a tenant, tried out and in use. `config` is stable, `version` grows with each change."""

    @property
    def config(self) -> int: ...

    @property
    def version(self) -> int: ...

    @property
    def adapter(self) -> KmsAdapter: ...

    @property
    def leasing(self) -> Leasing: ...


class Tenant(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def vendor(self) -> str: ...

    def primary(self) -> Kms:
        """NoPrimaryKms if there is nothing to wrap with."""
        ...

    def kms_for(self, config: int) -> Kms:
        """KmsConfigDisabled if `config` is not this tenant's, or not active."""
        ...


class Directory(Protocol):
    def tenant(self, name: str) -> Tenant:
        """UnknownTenant for a name without an active configuration."""
        ...


class Trail(Protocol):
    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Returns only when the events are durable; AuditUnavailable otherwise."""
        ...
