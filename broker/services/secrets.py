"""Tenant secrets: keeping one that a proxy made, and the two steps of a rotation. docs/operations.md has the how-to."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from broker.errors import BrokerRefused, NotASecret, RotationRefused, UnknownConfig
from broker.models import Config, Tenant, TenantSecret
from broker.models.secrets import ARCHIVED, CURRENT, IN_ROTATION
from broker.services.numbers import following, hold
from broker.services.trail import Actor, leave
from encrypted_fields.core.protocol import MAX_EDEK
from tsp.contract.secrets import MAX_ID, SETTLE_SECONDS, place_of

MOST = 10_000  # secrets of one tenant; whoever may derive may otherwise fill the database with paths


@transaction.atomic
def keep_secret(*, tenant: Tenant, config: int, kind: str, path: str, wrapped: bytes, by: Actor) -> bool:
    """Keep `wrapped` as the current secret of its place; False when somebody was faster, and nothing is written.

    NotASecret, UnknownConfig. Keeping goes one at a time, so of many proxies one wins and no number is wasted.
    """
    place = _place(kind, path)
    if not 0 < len(wrapped) <= MAX_EDEK:
        raise NotASecret()
    hold("secret")
    if TenantSecret.objects.filter(tenant=tenant, place=place, state=CURRENT).exists():
        return False
    found = Config.objects.filter(tenant=tenant, number=config, kind="kms").first()
    if found is None:
        raise UnknownConfig()
    if TenantSecret.objects.filter(tenant=tenant).count() >= MOST:
        raise BrokerRefused(f"a tenant has at most {MOST} secrets")
    number = following("secret")
    if number > MAX_ID:
        raise BrokerRefused("there are no secret numbers left")
    made = TenantSecret.objects.create(
        number=number, tenant=tenant, config=found, kind=kind, path=path, place=place, wrapped=wrapped
    )
    leave("secret.created", by=by, vendor=tenant.vendor, tenant=tenant, subject=made, config=config)
    return True


@transaction.atomic
def begin_rotation(*, secret: TenantSecret, by: Actor) -> None:
    """The current secret goes into rotation: it still opens everything, and the next derive makes a new current one.

    RotationRefused if it is not current, or if another one of its place is in rotation.
    """
    try:
        with transaction.atomic():
            begun = TenantSecret.objects.filter(pk=secret.pk, state=CURRENT).move(IN_ROTATION)
    except IntegrityError:
        raise RotationRefused("the secret before this one is still in rotation: commit that rotation first") from None
    if not begun:
        raise RotationRefused("this secret is not the current one any more; reload the page")
    _leave("secret.rotation_begun", secret, by)


@transaction.atomic
def commit_rotation(*, secret: TenantSecret, by: Actor) -> None:
    """The secret in rotation is archived: it is kept for ever, but no proxy derives from it any more.

    RotationRefused if it is not in rotation, or if its successor is not there yet or too young: without one that
    encrypts, data would still be written under the one that goes.
    """
    settled = TenantSecret.objects.filter(
        tenant=OuterRef("tenant"), place=OuterRef("place"), state=CURRENT, changed__lte=settled_before()
    )
    if not TenantSecret.objects.filter(Exists(settled), pk=secret.pk, state=IN_ROTATION).move(ARCHIVED):
        raise RotationRefused()
    _leave("secret.rotation_committed", secret, by)


def settled_before() -> datetime:
    """A current secret that was made before this moment encrypts; a younger one is only decrypted with."""
    return timezone.now() - timedelta(seconds=SETTLE_SECONDS)


def _place(kind: str, path: str) -> str:
    try:
        return place_of(kind, path)
    except ValueError:
        raise NotASecret() from None


def _leave(action: str, secret: TenantSecret, by: Actor) -> None:
    leave(action, by=by, vendor=secret.tenant.vendor, tenant=secret.tenant, subject=secret)
