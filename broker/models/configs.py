"""Sealed configurations: a number for each, immutable versions, and what the proxies say of them."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from broker.models.immutable import Immutable, ImmutableQuerySet
from broker.models.people import Tenant, User
from broker.models.proxies import ProxyInstance
from tsp.contract.tenant import MAX_CONFIG

KINDS = [("kms", "Key service"), ("siem", "Audit log")]


class Counter(models.Model):
    """A running number. Whoever takes the next one holds the row until commit, so numbers become visible in order."""

    name = models.CharField(max_length=16, primary_key=True)
    value = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


class Config(models.Model):
    """One key service or audit log of a tenant. `number` is global and for ever: wrapped keys carry it."""

    number = models.PositiveIntegerField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="configs")
    kind = models.CharField(max_length=4, choices=KINDS)
    label = models.CharField(max_length=100)
    enabled = models.BooleanField(default=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(number__gte=1, number__lte=MAX_CONFIG), name="config_number_fits"),
            models.UniqueConstraint(fields=["tenant"], condition=Q(kind="siem"), name="one_siem_a_tenant"),
        ]
        ordering: ClassVar = ["number"]

    def __str__(self) -> str:
        return f"#{self.number} {self.label}"


class ConfigVersion(Immutable):
    """One sealed version, exactly as it was posted. `boxes` maps key ids to base64; nobody here can open them.

    `previous` is the `hash` of the version before, "" for the first. `sequence` runs over all configurations.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    config = models.ForeignKey(Config, models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    boxes: models.JSONField[Any, Any] = models.JSONField()
    hash = models.CharField(max_length=64)
    previous = models.CharField(max_length=64, blank=True)
    sequence = models.PositiveBigIntegerField(unique=True)
    author = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    objects = ImmutableQuerySet["ConfigVersion"].as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["config", "version"], name="config_version_once"),
            models.CheckConstraint(condition=Q(version__gte=1, version__lte=MAX_CONFIG), name="config_version_fits"),
            models.CheckConstraint(
                condition=Q(version=1, previous="") | Q(version__gt=1) & ~Q(previous=""), name="config_version_chained"
            ),
        ]
        ordering: ClassVar = ["sequence"]

    def __str__(self) -> str:
        return f"{self.config} v{self.version}"


class ConfigStatus(models.Model):
    """What one proxy last said of one configuration. `reason` is a short word from the proxy's closed list."""

    config = models.ForeignKey(Config, models.CASCADE, related_name="statuses")
    proxy = models.ForeignKey(ProxyInstance, models.CASCADE, related_name="statuses")
    version = models.PositiveIntegerField()
    state = models.CharField(max_length=7, choices=[("active", "Active"), ("refused", "Refused")])
    reason = models.CharField(max_length=200, blank=True)
    since = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["config", "proxy"], name="config_status_once")]

    def __str__(self) -> str:
        return f"{self.config} v{self.version}: {self.state}"
