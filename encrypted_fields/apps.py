"""The Django application `encrypted_fields`."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings


class EncryptedFieldsConfig(AppConfig):
    name = "encrypted_fields"
    verbose_name = "Encrypted fields"

    def ready(self) -> None:
        from encrypted_fields import checks, fixtures, query_checks
        from encrypted_fields.moving import checks as moving_checks

        assert all((checks, query_checks, moving_checks))  # imported for their registration
        fixtures.register()
        if getattr(settings, "CMK_CELERY", False):
            from encrypted_fields import celery

            celery.connect()
