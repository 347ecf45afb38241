"""System checks of the settings. Warnings only, so that `makemigrations` and CI need no proxy and no key: W012, W013 a
setting is missing · W015 a setting is misspelt."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from encrypted_fields import policy, reuse
from encrypted_fields.conf import SETTINGS, url_problem


@checks.register(checks.Tags.security)
def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Nothing to say for a project whose models hold no encrypted field."""
    if not any(
        getattr(field, "cmk_encrypted", False) for model in apps.get_models() for field in model._meta.local_fields
    ):
        return []
    found: list[checks.CheckMessage] = []
    url = getattr(settings, "CMK_TSP_URL", None)
    if not url:
        found.append(_missing("CMK_TSP_URL", "W012"))
    else:
        problem = url_problem(str(url), allow_http=bool(getattr(settings, "CMK_TSP_ALLOW_HTTP", False)))
        if problem:
            found.append(checks.Error(problem, id="encrypted_fields.E010"))
    if not getattr(settings, "CMK_TSP_API_KEY", None):
        found.append(_missing("CMK_TSP_API_KEY", "W013"))
    return found


@checks.register(checks.Tags.security)
def check_names(**_: Any) -> list[checks.CheckMessage]:
    """W015: what nobody reads protects nobody, such as a policy table under another name."""
    found: list[checks.CheckMessage] = []
    for name in dir(settings):
        if name in SETTINGS or not name.isupper():
            continue
        meant = get_close_matches(name, SETTINGS, n=1, cutoff=0.88)
        if meant:
            found.append(
                checks.Warning(
                    f"{name} is no setting of encrypted fields, and nothing reads it",
                    hint=f"Did you mean {meant[0]}?",
                    id="encrypted_fields.W015",
                )
            )
    return found


@checks.register(checks.Tags.security)
def check_policy(**_: Any) -> list[checks.CheckMessage]:
    """E060, E061: settings that would stop the first look at a value stop the deployment instead."""
    found: list[checks.CheckMessage] = []
    try:
        policy.configured()
    except (ImproperlyConfigured, ImportError) as problem:
        found.append(checks.Error(f"the policy cannot be read: {problem}", id="encrypted_fields.E060"))
    bounds = getattr(settings, "CMK_REUSE_KEYS", None)
    try:
        reuse.reuse_keys(**({"seconds": 1, "uses": 1} if bounds is None else bounds))
    except (TypeError, ValueError) as problem:
        found.append(checks.Error(f"CMK_REUSE_KEYS is not usable: {problem}", id="encrypted_fields.E061"))
    return found


def _missing(name: str, code: str) -> checks.Warning:
    return checks.Warning(
        f"{name} is not set: models hold encrypted fields, and no value can be sealed or opened",
        hint=f"Set {name} where the application runs; migrations and checks do without.",
        id=f"encrypted_fields.{code}",
    )
