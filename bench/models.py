"""Tables in pairs: the same fields plain and encrypted."""

from __future__ import annotations

from django.db import models

from encrypted_fields import EncryptedField
from encrypted_fields.search import Exact


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
