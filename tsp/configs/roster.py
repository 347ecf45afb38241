"""Which versions are accepted and which are switched on: the state that requests read, changed in one step."""

from __future__ import annotations

from collections.abc import Collection

from encrypted_fields.core.errors import UnknownTenant
from tsp.audit.queue import WhenFull
from tsp.configs.active import ActiveKms, ActiveSiem, Tenant, tenant_of

Active = ActiveKms | ActiveSiem


class Roster:
    """Tenants by name."""

    def __init__(self, vendor: str) -> None:
        self._vendor = vendor
        self._accepted: dict[str, dict[int, Active]] = {}
        self._tenants: dict[str, Tenant] = {}
        self.disabled: frozenset[int] = frozenset()

    def tenant(self, name: str) -> Tenant:
        """UnknownTenant for one that has nothing accepted."""
        found = self._tenants.get(name)
        if found is None:
            raise UnknownTenant
        return found

    def names(self) -> list[str]:
        return list(self._tenants)

    def when_full(self, name: str) -> WhenFull:
        found = self._tenants.get(name)
        return found.siem.when_full if found is not None and found.siem is not None else "refuse"

    def accepted(self, name: str, config: int) -> Active | None:
        """The accepted version, switched on or not."""
        return self._accepted.get(name, {}).get(config)

    def serving(self) -> list[tuple[str, Active]]:
        """What is accepted and switched on, with the tenants' names."""
        accepted = [(name, active) for name, found in self._accepted.items() for active in found.values()]
        return [(name, active) for name, active in accepted if active.config not in self.disabled]

    def siem_with(self, name: str, active: Active | None, disabled: Collection[int]) -> ActiveSiem | None:
        """The SIEM that the tenant would have with `active` accepted and `disabled` switched off."""
        actives = dict(self._accepted.get(name, {}))
        if active is not None:
            actives[active.config] = active
        return tenant_of(self._vendor, name, actives.values(), disabled).siem

    def place(self, name: str, active: Active) -> Active | None:
        """Accept a version; the one that it replaces."""
        accepted = self._accepted.setdefault(name, {})
        old, accepted[active.config] = accepted.get(active.config), active
        self._tenants[name] = tenant_of(self._vendor, name, accepted.values(), self.disabled)
        return old

    def touched(self, disabled: Collection[int]) -> list[str]:
        """The tenants that a change to `disabled` concerns."""
        changed = self.disabled ^ set(disabled)
        return [name for name, accepted in self._accepted.items() if changed & accepted.keys()] if changed else []

    def switch(self, disabled: Collection[int]) -> None:
        """Switch off exactly `disabled`."""
        names = self.touched(disabled)
        self.disabled = frozenset(disabled)
        for name in names:
            self._tenants[name] = tenant_of(self._vendor, name, self._accepted[name].values(), self.disabled)
