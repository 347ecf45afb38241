"""The Django application of the portal."""

from __future__ import annotations

from django.apps import AppConfig


class BrokerConfig(AppConfig):
    name = "broker"
    verbose_name = "Configuration Broker"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from broker import checks  # noqa: F401  (registers the system checks)
