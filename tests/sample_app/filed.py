"""Files of every kind: pictures, private names, and stored files that go with their rows."""

from __future__ import annotations

import uuid

from django.db import models

from encrypted_fields import (
    ClientSealedField,
    ClientSealedFileField,
    EncryptedField,
    EncryptedFileField,
    EncryptedImageField,
    Recipient,
)

READERS: list[Recipient] = []


class Photo(models.Model):
    """A picture with its measures, under a random name, removed with its row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    picture = EncryptedImageField(
        upload_to="photos", width_field="width", height_field="height", private_names=True, unused="delete", blank=True
    )
    width = models.IntegerField(null=True, editable=False)
    height = models.IntegerField(null=True, editable=False)
    contract = EncryptedFileField(upload_to="contracts", url_from="contract_page", null=True, blank=True)

    cmk_tenant_from = "tenant_id"

    def contract_page(self) -> str:
        return f"/contracts/{self.pk}/"


class Receipt(models.Model):
    """A key made by the database: its files are not bound to their row."""

    tenant_id = models.CharField(max_length=40)
    paper = EncryptedFileField(upload_to="receipts", tenant_from="tenant_id", max_length=60)


class Estate(models.Model):
    """Sealed in the browser, beside a value under the tenant's key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    title = EncryptedField(models.CharField(max_length=100))
    will = ClientSealedField(recipients="readers", max_size=1000)
    scan = ClientSealedFileField(recipients="readers", upload_to="wills", max_size=200_000, null=True, blank=True)

    cmk_tenant_from = "tenant_id"

    def readers(self) -> list[Recipient]:
        return READERS
