"""The Django applications of the portal: itself, and the administration under the portal's policy."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as administration


class BrokerConfig(AppConfig):
    name = "broker"
    verbose_name = "Configuration Broker"
    default = True
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from broker import checks  # noqa: F401  (registers the system checks)


class AdministrationConfig(administration.AdminConfig):
    """Django's administration, with a site of our own."""

    default = False
    default_site = "broker.administration.Administration"
