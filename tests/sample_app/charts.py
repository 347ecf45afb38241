"""A model whose fields have labels of their own, and each a way of its own to be locked."""

from __future__ import annotations

import uuid

from django.db import models

from encrypted_fields import EncryptedField
from encrypted_fields.omitting import OmitLocked


class Chart(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    name = EncryptedField(models.CharField(max_length=50), label="contact")
    phone = EncryptedField(models.CharField(max_length=50, blank=True), label="contact", on_locked="omit")
    diagnosis = EncryptedField(models.TextField(null=True), label="health", on_locked="raise")
    weight = EncryptedField(models.IntegerField(null=True), on_locked="omit")
    born = EncryptedField(models.DateField(null=True))

    objects = OmitLocked.as_manager()
    cmk_tenant_from = "tenant_id"
