"""The proxy as a Django application: its commands and its workers. No models, no views."""

from __future__ import annotations

from django.apps import AppConfig


class TspConfig(AppConfig):
    name = "tsp"
    verbose_name = "Tenant security proxy"
