"""Configurations: numbers, versions, and switching one off. docs/formats.md section 5 has the sealed record."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from django.db import transaction

from broker.errors import BrokerRefused, NoProxyKey, NotARecord, StaleVersion, UnknownConfig, WrongBoxes
from broker.models import Config, ConfigVersion, ProxyKey, Tenant
from broker.services.numbers import following, hold
from broker.services.trail import Actor, leave
from tsp.contract.sealed import Record
from tsp.contract.tenant import MAX_CONFIG, Kind


@dataclass(frozen=True, slots=True)
class Draft:
    """What a browser must bind the next version to."""

    config: int
    version: int
    previous: str


@transaction.atomic
def allocate_config(*, tenant: Tenant, kind: Kind, by: Actor, label: str = "") -> Config:
    """A configuration to seal the first version of. A number that was never published is given again.

    A tenant has one audit log, so for "siem" the one that exists is returned.
    """
    hold("config")  # two browsers at once must not both find nothing
    wanted = " ".join(label.split())[:100]
    free = Config.objects.filter(tenant=tenant, kind=kind)
    found = (free if kind == "siem" else free.filter(versions=None)).first()
    if found is not None:
        if wanted and found.label != wanted:
            found.label = wanted
            found.save(update_fields=["label"])
            leave("config.labelled", by=by, vendor=tenant.vendor, tenant=tenant, subject=found)
        return found
    number = following("config")
    if number > MAX_CONFIG:
        raise BrokerRefused("there are no configuration numbers left")
    config = Config.objects.create(number=number, tenant=tenant, kind=kind, label=wanted or _LABELS[kind])
    leave("config.allocated", by=by, vendor=tenant.vendor, tenant=tenant, subject=config)
    return config


def draft(config: Config) -> Draft:
    """The version that comes next, and the hash of the one before it. Writes nothing; publish_record checks again."""
    head = config.versions.order_by("-version").first()
    return Draft(config.number, head.version + 1, head.hash) if head else Draft(config.number, 1, "")


@transaction.atomic
def publish_record(*, tenant: Tenant, record: Record, by: Actor) -> ConfigVersion:
    """Keep the next version, for ever. UnknownConfig, WrongBoxes, NoProxyKey, StaleVersion.

    Publishing goes one at a time: the counter's row is held until commit, so a proxy that has seen a sequence number
    has seen every lower one, and of two browsers with the same version the second is refused.
    """
    if record.tenant != tenant.name:
        raise NotARecord("the record names another tenant")
    sequence = following("sequence")
    config = Config.objects.filter(tenant=tenant, number=record.config, kind=record.kind).first()
    if config is None:
        raise UnknownConfig()
    _check_boxes(tenant, record)
    coming = draft(config)
    if record.version != coming.version:
        raise StaleVersion()
    made = ConfigVersion.objects.create(
        config=config,
        version=record.version,
        boxes={key: base64.b64encode(box).decode() for key, box in sorted(record.boxes.items())},
        hash=record.hash,
        previous=coming.previous,
        sequence=sequence,
        author=by.user,
    )
    facts = {"version": made.version, "hash": made.hash}
    leave("config.published", by=by, vendor=tenant.vendor, tenant=tenant, subject=config, **facts)
    return made


@transaction.atomic
def set_config_enabled(*, config: Config, enabled: bool, by: Actor) -> bool:
    """Switch a configuration off or on again at the portal; False when it was so before. Nothing is deleted."""
    changed = Config.objects.filter(pk=config.pk, enabled=not enabled).update(enabled=enabled) == 1
    if changed:
        action = "config.enabled" if enabled else "config.disabled"
        leave(action, by=by, vendor=config.tenant.vendor, tenant=config.tenant, subject=config)
    return changed


def _check_boxes(tenant: Tenant, record: Record) -> None:
    active = set(ProxyKey.objects.filter(vendor=tenant.vendor_id, state="active").values_list("key", flat=True))
    if not active:
        raise NoProxyKey()
    sealed_to = set(record.boxes)
    if sealed_to - active:
        raise WrongBoxes("a box is sealed to a key that is not an active proxy key; reload the page and seal again")
    if active - sealed_to:
        raise WrongBoxes("there is no box for every active proxy key; reload the page and seal again")


_LABELS = {"kms": "Key service", "siem": "Audit log"}
