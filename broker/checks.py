"""System checks of the portal, broker.E001 …: what would break a page or a promise, with the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.checks import CheckMessage, Error, Warning, register

LIBRARIES = ("vendor/libsodium.js", "vendor/libsodium-wrappers.js")


@register("broker")
def sealing_library(*, app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Without libsodium no tenant can seal anything; it is copied at build time and never committed."""
    missing = [name for name in LIBRARIES if finders.find(name) is None]
    if not missing:
        return []
    fix = "Run: npm ci --ignore-scripts && npm run vendor"
    return [Warning(f"The portal cannot seal: {', '.join(missing)} is missing.", hint=fix, id="broker.W001")]


@register("broker")
def login_wanted(*, app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Every page asks for a login unless it says otherwise (T-21)."""
    if "django.contrib.auth.middleware.LoginRequiredMiddleware" in settings.MIDDLEWARE:
        return []
    return [Error("Pages are open by default.", hint="Put LoginRequiredMiddleware into MIDDLEWARE.", id="broker.E001")]
