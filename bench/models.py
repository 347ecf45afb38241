"""Tables in pairs: the same fields plain and encrypted."""

from __future__ import annotations

import uuid

from django.db import models

from encrypted_fields import EncryptedField
from encrypted_fields.search import Exact


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


class Found(models.Model):  # noqa: DJ008
    """Looked for by an index on the plain value."""

    email = models.CharField(max_length=60, db_index=True)
    notes = models.TextField()

    class Meta:
        app_label = "bench"


class Sought(models.Model):  # noqa: DJ008
    """Looked for by a blind index."""

    email = EncryptedField(models.CharField(max_length=60), index=[Exact()])
    notes = models.TextField()

    class Meta:
        app_label = "bench"
