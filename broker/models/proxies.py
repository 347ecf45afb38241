"""What the portal knows of the vendor's proxies: their public keys, their tokens, and when each was last heard of."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from broker.models.people import Vendor


class ProxyKey(models.Model):
    """A public key that tenants seal to. `key` is its id: the first 32 hex digits of its SHA-256, for people."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vendor = models.ForeignKey(Vendor, models.PROTECT, related_name="proxy_keys")
    key = models.CharField("key id", max_length=32)
    public_key = models.BinaryField(max_length=32)
    label = models.CharField(max_length=100)
    state = models.CharField(max_length=7, choices=[("active", "Active"), ("retired", "Retired")], default="active")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["vendor", "key"], name="proxy_key_once")]
        ordering: ClassVar = ["created", "key"]

    def __str__(self) -> str:
        return f"{self.label} ({self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """The key id in groups of four, as people read it to each other."""
        return " ".join(self.key[at : at + 4] for at in range(0, len(self.key), 4))


class ServiceToken(models.Model):
    """Lets a proxy fetch the feed and report. Only the SHA-256 of the secret is kept; the token is shown once."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vendor = models.ForeignKey(Vendor, models.PROTECT, related_name="tokens")
    label = models.CharField(max_length=100)
    scope = models.CharField(max_length=16, choices=[("proxy-feed", "Proxy feed")], default="proxy-feed")
    digest = models.BinaryField(max_length=32)
    created = models.DateTimeField(auto_now_add=True)
    revoked = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["created"]

    def __str__(self) -> str:
        return self.label


class ProxyInstance(models.Model):
    """One running proxy, by the name it reports under; the pages forget it when it has been silent for long."""

    vendor = models.ForeignKey(Vendor, models.CASCADE, related_name="proxies")
    name = models.CharField(max_length=100)
    version = models.CharField(max_length=32)
    keys = models.JSONField(default=list)
    seen = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["vendor", "name"], name="proxy_instance_once"),
            models.CheckConstraint(condition=~Q(name=""), name="proxy_instance_named"),
        ]
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name
