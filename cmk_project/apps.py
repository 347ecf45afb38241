"""The roof as a Django app: it brings the system checks."""

from __future__ import annotations

from django.apps import AppConfig


class CmkProjectConfig(AppConfig):
    name = "cmk_project"

    def ready(self) -> None:
        from cmk_project import checks  # noqa: F401  registers itself
