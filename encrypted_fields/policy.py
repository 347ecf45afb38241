"""May this be done now? A function or a table of the project, asked before each key; refusals are in the trail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.signals import setting_changed
from django.utils import timezone
from django.utils.module_loading import import_string

from encrypted_fields import client
from encrypted_fields.core.errors import CmkError
from encrypted_fields.core.protocol import Metadata
from encrypted_fields.policy_table import Row, compiled

log = logging.getLogger(__name__)
EVENT = "DATA_DENY_ACCESS"


class AccessRefused(CmkError, PermissionDenied):
    """The project's own policy said no: nothing was opened or sealed. In a request it becomes a 403, as each
    PermissionDenied does. It never shows as Locked, which speaks of the customer's no."""

    code, http = 100, 403
    default = "refused by the policy"

    def __init__(self, rule: str, ask: Ask) -> None:
        super().__init__(f"refused by the policy: {rule}")
        self.rule, self.ask = rule, ask


@dataclass(frozen=True, slots=True)
class Ask:
    """What is about to be done. `action` is "encrypt", "decrypt", "search" or "reveal"; `label` the data label of the
    field; `at` an aware moment."""

    action: str
    tenant: str
    label: str
    requesting_id: str
    reason: str
    source_ip: str | None
    request_id: str | None
    object_id: str | None
    custom: dict[str, str]
    at: datetime


Policy = Callable[[Ask], str | None]


def permit(about: Metadata, action: str) -> Metadata:
    """`about`, with the name of the rule that allowed it, if one did. AccessRefused otherwise, after telling the
    tenant's trail; a refusal whose event does not arrive is a refusal all the same, and is logged."""
    refused, rule = decide(about, action)
    if not refused:
        return about if not rule else replace(about, custom={**about.custom, "policy": rule})
    told = replace(about, custom={**about.custom, "action": action, "policy": rule})
    try:
        client.current().security_event(told, EVENT)
    except CmkError as error:
        log.error("a refusal by policy is missing in the trail of tenant %s: %s", about.tenant, error)
    raise AccessRefused(rule, _ask(about, action))


def decide(about: Metadata, action: str) -> tuple[bool, str]:
    """(refused, name of the rule that decided, or ""). Tells nobody."""
    function, table = configured()
    if function is None and not table:
        return False, ""
    ask = _ask(about, action)
    if function is not None:
        answer = function(ask)
        if answer is not None:
            if not isinstance(answer, str) or not answer:
                raise TypeError("CMK_POLICY answers None to permit, or the text of a refusal")
            return True, answer
    for row in table:
        if row.matches(ask, ask.at.astimezone(_zone())):
            return row.refuses, row.name
    return False, ""


def _ask(about: Metadata, action: str) -> Ask:
    return Ask(
        action=action,
        tenant=about.tenant,
        label=about.data_label or "",
        requesting_id=about.requesting_id,
        reason=about.custom.get("reason", ""),
        source_ip=about.source_ip,
        request_id=about.request_id,
        object_id=about.object_id,
        custom=dict(about.custom),
        at=timezone.now(),
    )


@lru_cache(maxsize=1)
def configured() -> tuple[Policy | None, tuple[Row, ...]]:
    """The function and the table of the settings. ImproperlyConfigured or ImportError for what cannot be read."""
    path: Any = getattr(settings, "CMK_POLICY", None)
    function = import_string(path) if isinstance(path, str) else path
    if function is not None and not callable(function):
        raise ImproperlyConfigured("CMK_POLICY must name a function that takes an encrypted_fields.policy.Ask")
    return function, compiled(getattr(settings, "CMK_POLICY_TABLE", ()))


@lru_cache(maxsize=1)
def _zone() -> ZoneInfo:
    return ZoneInfo(getattr(settings, "CMK_POLICY_ZONE", None) or settings.TIME_ZONE or "UTC")


def _forget(*, setting: str, **_: Any) -> None:
    if setting.startswith("CMK_POLICY") or setting == "TIME_ZONE":
        configured.cache_clear()
        _zone.cache_clear()


setting_changed.connect(_forget, dispatch_uid="encrypted_fields.policy")
