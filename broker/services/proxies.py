"""Proxy keys, the tokens that proxies use, and what proxies report."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from broker.errors import BrokerRefused, NameTaken, NotAKey
from broker.models import Config, ConfigStatus, ProxyInstance, ProxyKey, ServiceToken, Vendor
from broker.services.trail import Actor, leave
from tsp.contract.sealed import MAX_BOXES, PUBLIC_KEY_BYTES, key_id

PREFIX = "cmkp"


@dataclass(frozen=True, slots=True)
class Result:
    """What a proxy says of one configuration: `state` is "active" or "refused", `reason` from its closed list."""

    tenant: str
    config: int
    version: int
    state: str
    reason: str = ""


@transaction.atomic
def register_proxy_key(*, vendor: Vendor, public_key: bytes, by: Actor, label: str = "Proxy key") -> ProxyKey:
    """From now on tenants seal to this key too. NotAKey; NameTaken when it is registered already, active or retired."""
    if len(public_key) != PUBLIC_KEY_BYTES or not any(public_key):
        raise NotAKey()
    if ProxyKey.objects.filter(vendor=vendor, key=key_id(public_key)).exists():
        raise NameTaken("that key is registered already")
    if ProxyKey.objects.filter(vendor=vendor, state="active").count() >= MAX_BOXES:
        raise BrokerRefused(f"a configuration holds at most {MAX_BOXES} boxes: retire a proxy key first")
    made = ProxyKey.objects.create(vendor=vendor, key=key_id(public_key), public_key=public_key, label=label[:100])
    leave("proxy_key.registered", by=by, vendor=vendor, subject=made.key, label=made.label)
    return made


@transaction.atomic
def retire_proxy_key(*, proxy_key: ProxyKey, by: Actor) -> bool:
    """Tenants no longer seal to this key; False when it was retired before."""
    changed = ProxyKey.objects.filter(pk=proxy_key.pk, state="active").update(state="retired") == 1
    if changed:
        leave("proxy_key.retired", by=by, vendor=proxy_key.vendor, subject=proxy_key.key)
    return changed


@transaction.atomic
def issue_service_token(*, vendor: Vendor, label: str, by: Actor) -> str:
    """The token itself, this once: "cmkp.<id>.<secret>". Only a digest of the secret is kept."""
    secret = secrets.token_urlsafe(32)
    token = ServiceToken.objects.create(vendor=vendor, label=label[:100], digest=digest(secret))
    leave("token.issued", by=by, vendor=vendor, subject=token.id, label=token.label)
    return f"{PREFIX}.{token.id.hex}.{secret}"


@transaction.atomic
def revoke_service_token(*, token: ServiceToken, by: Actor) -> bool:
    """From the next request on it opens nothing; False when it was revoked before."""
    changed = ServiceToken.objects.filter(pk=token.pk, revoked=None).update(revoked=timezone.now()) == 1
    if changed:
        leave("token.revoked", by=by, vendor=token.vendor, subject=token.id, label=token.label)
    return changed


@transaction.atomic
def record_status(
    *, vendor: Vendor, proxy: str, version: str, keys: Sequence[str], results: Sequence[Result], by: Actor
) -> int:
    """Keep what a proxy reports; returns how many results named no configuration of this vendor, which are left out.

    A proxy reports every few seconds: that is noted on its row, and the trail gets one row for each change.
    """
    instance, _ = ProxyInstance.objects.update_or_create(
        vendor=vendor,
        name=proxy[:100],
        defaults={"version": version[:32], "keys": list(keys), "seen": timezone.now()},
    )
    wanted = {result.config: result for result in results}
    configs = Config.objects.filter(tenant__vendor=vendor, number__in=wanted).select_related("tenant")
    before = {status.config_id: status for status in ConfigStatus.objects.filter(proxy=instance, config__in=configs)}
    unknown = len(wanted)
    for config in configs:
        result = wanted[config.number]
        if result.tenant != config.tenant.name:
            continue
        unknown -= 1
        known = before.get(config.number)
        said = {"version": result.version, "state": result.state, "reason": result.reason[:200]}
        if known is not None and all(getattr(known, name) == value for name, value in said.items()):
            continue
        ConfigStatus.objects.update_or_create(config=config, proxy=instance, defaults={**said, "since": timezone.now()})
        leave(f"config.{result.state}", by=by, vendor=vendor, tenant=config.tenant, subject=config, **said)
    return unknown


def digest(secret: str) -> bytes:
    """SHA-256; enough for 256 random bits, which no dictionary holds."""
    return hashlib.sha256(secret.encode()).digest()
