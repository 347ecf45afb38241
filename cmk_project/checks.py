"""Dangerous settings as system checks cmk.E001 …: `manage.py check` and every start stops on them (docs/errors.md)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from tsp.contract.tenant import is_name

_PUBLIC = "development-only"  # how the secret key of settings.local starts
_WEAK = 50  # characters; Django's own rule


@register("cmk")
def dangerous_settings(*, app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Every check at once, so that one start shows all that is wrong."""
    production = settings.CMK_STAGE == "production"
    portal = "broker" in settings.INSTALLED_APPS
    found: list[CheckMessage] = []
    if production and getattr(settings, "TSP_ALLOW_LOCAL_KMS", False):
        found.append(
            _error(
                "E001",
                "The local KMS is allowed in production.",
                "Set TSP_ALLOW_LOCAL_KMS=false, or CMK_STAGE=development.",
            )
        )
    if production and settings.DEBUG:
        found.append(
            _error("E002", "DEBUG is on in production.", "Use cmk_project.settings.broker or .tsp, not .local.")
        )
    if production and portal and _has_private_key():
        found.append(
            _error(
                "E003",
                "The portal can reach the proxy's private key.",
                "Remove TSP_PRIVATE_KEYS from the portal's environment.",
            )
        )
    if production and portal and (settings.SECRET_KEY.startswith(_PUBLIC) or len(settings.SECRET_KEY) < _WEAK):
        found.append(
            _error(
                "E004",
                "SECRET_KEY is public or short.",
                f"Set SECRET_KEY to {_WEAK} or more random characters, kept secret.",
            )
        )
    if production and portal and "*" in settings.ALLOWED_HOSTS:
        found.append(
            _error("E005", "ALLOWED_HOSTS lets every host in.", "Set ALLOWED_HOSTS to the portal's host names.")
        )
    if settings.CMK_VENDOR and not is_name(settings.CMK_VENDOR):
        found.append(
            _error(
                "E006",
                "CMK_VENDOR is not a name.",
                "Use 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first and last.",
            )
        )
    if (
        production
        and getattr(settings, "TSP_BROKER_URL", "").startswith("http://")
        and not _is_loopback(settings.TSP_BROKER_URL)
    ):
        found.append(
            _error(
                "E007",
                "The proxy's token would travel in clear to the portal.",
                "Set TSP_BROKER_URL to an https:// address.",
            )
        )
    return found


def _error(number: str, what: str, fix: str) -> Error:
    return Error(what, hint=fix, id=f"cmk.{number}")


def _has_private_key() -> bool:
    named = any(os.environ.get(name) for name in ("TSP_PRIVATE_KEYS", "TSP_PRIVATE_KEYS_FILE"))
    return named or bool(getattr(settings, "TSP_PRIVATE_KEYS", ""))


def _is_loopback(address: str) -> bool:
    return address.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
