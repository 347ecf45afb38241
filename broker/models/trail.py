"""The portal's own audit: one row for each write, and no row is ever changed."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from broker.models.immutable import Immutable, ImmutableQuerySet
from broker.models.people import Tenant, User, Vendor


class Trail(Immutable):
    """Who did what to what, when and from where. `facts` holds numbers and names, never a secret."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    vendor = models.ForeignKey(Vendor, models.PROTECT, related_name="+", null=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="trail", null=True)
    actor = models.CharField(max_length=254)
    user = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    address = models.GenericIPAddressField("from", null=True)
    action = models.CharField(max_length=40)
    subject = models.CharField(max_length=200)
    facts = models.JSONField(default=dict)

    objects = ImmutableQuerySet["Trail"].as_manager()

    class Meta:
        ordering: ClassVar = ["-at", "-id"]
        verbose_name_plural = "trail"

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"

    @property
    def sentence(self) -> str:
        """The action in a person's words."""
        return _SENTENCES.get(self.action, self.action)


_SENTENCES = {
    "config.active": "Taken into use",
    "config.allocated": "Number given to",
    "config.disabled": "Switched off",
    "config.enabled": "Switched on",
    "config.labelled": "Renamed to",
    "config.published": "Sealed",
    "config.refused": "Refused by the proxy:",
    "member.added": "Member added:",
    "secret.created": "Made by a proxy:",
    "secret.rotation_begun": "Rotation begun of",
    "secret.rotation_committed": "Rotation committed, archived:",
    "tenant.created": "Tenant created:",
    "tenant.restyled": "Tenant renamed:",
    "tenant.leasing_required": "Key leasing required of",
    "tenant.leasing_optional": "Key leasing no longer required of",
}
