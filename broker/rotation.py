"""What the secrets of one place mean for a proxy: which encrypts, which only decrypts, whether one is missing."""

from __future__ import annotations

from dataclasses import dataclass

from broker.models import Tenant, TenantSecret
from broker.models.secrets import CURRENT, IN_ROTATION
from broker.services.secrets import settled_before


@dataclass(frozen=True, slots=True)
class Standing:
    """`secrets`: the one to encrypt with first; archived ones are left out. `wanting`: the next one is to be made."""

    secrets: list[TenantSecret]
    wanting: bool


def standing(tenant: Tenant, place: str) -> Standing:
    """How a place stands.

    A new secret is decrypted with at once, and encrypted with when SETTLE_SECONDS have passed: a proxy that remembers
    the old answer for some seconds would otherwise be asked to open what another one has just made.
    """
    rows = TenantSecret.objects.filter(tenant=tenant, place=place, state__in=(CURRENT, IN_ROTATION))
    by_state = {row.state: row for row in rows}
    current, old = by_state.get(CURRENT), by_state.get(IN_ROTATION)
    if current is None or old is None:
        return Standing([row for row in (current, old) if row], wanting=current is None)
    young = current.changed > settled_before()
    return Standing([old, current] if young else [current, old], wanting=False)
