"""Tenant secrets as the proxies sent them: wrapped by the tenant's key service, so nobody here can open one."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from broker.models.configs import Config
from broker.models.immutable import Immutable, ImmutableQuerySet
from broker.models.people import Tenant
from encrypted_fields.core.protocol import MAX_EDEK
from tsp.contract import secrets

CURRENT, IN_ROTATION, ARCHIVED = "current", "in_rotation", "archived"
STATES = [(CURRENT, "Current"), (IN_ROTATION, "In rotation"), (ARCHIVED, "Archived")]


class TenantSecretQuerySet(ImmutableQuerySet["TenantSecret"]):
    def move(self, state: str) -> int:
        """Let these rows enter `state`, in one statement; how many did. Nothing else of a secret ever changes."""
        return models.QuerySet.update(self, state=state, changed=timezone.now())


class TenantSecret(Immutable):
    """One secret of (tenant, type, path). `number` is in the header of every ciphertext made with it, for ever.

    `place` is the digest of type and path (tsp.contract.secrets). `changed` is when it entered its state.
    """

    number = models.PositiveBigIntegerField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="secrets")
    config = models.ForeignKey(Config, models.PROTECT, related_name="secrets")
    kind = models.CharField("type", max_length=13, choices=[(kind, kind) for kind in secrets.TYPES])
    path = models.TextField(max_length=secrets.MAX_PATH, blank=True)
    place = models.CharField(max_length=64)
    wrapped = models.BinaryField(max_length=MAX_EDEK)
    state = models.CharField(max_length=11, choices=STATES, default=CURRENT)
    created = models.DateTimeField(default=timezone.now)
    changed = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = TenantSecretQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(number__gte=1, number__lte=secrets.MAX_ID), name="secret_number_fits"),
            models.CheckConstraint(condition=Q(state__in=[name for name, _ in STATES]), name="secret_state_known"),
            models.UniqueConstraint(
                fields=["tenant", "place"], condition=Q(state=CURRENT), name="one_current_secret_a_place"
            ),
            models.UniqueConstraint(
                fields=["tenant", "place"], condition=Q(state=IN_ROTATION), name="one_secret_in_rotation_a_place"
            ),
        ]
        ordering: ClassVar = ["tenant", "kind", "path", "-number"]

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} {self.path!r}"
