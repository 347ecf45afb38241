"""Two tables with the same three fields, one of them encrypted."""

from __future__ import annotations

import uuid

from django.db import models

from encrypted_fields import EncryptedField


class Plain(models.Model):  # noqa: DJ008  never shown
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.TextField()
    born = models.TextField()
    notes = models.TextField()

    class Meta:
        app_label = "bench"


class Sealed(models.Model):  # noqa: DJ008
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = EncryptedField(models.TextField())
    born = EncryptedField(models.TextField())
    notes = EncryptedField(models.TextField())

    class Meta:
        app_label = "bench"
