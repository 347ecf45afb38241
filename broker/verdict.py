"""What the proxies' reports mean for a person: one state, one sentence, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from broker.advice import advice, headline
from broker.models import Config, ConfigStatus, ConfigVersion, ProxyInstance, ProxyKey, Vendor

LIVE = timedelta(minutes=10)  # a proxy that was silent for longer no longer counts: it was probably replaced


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` is "empty", "off", "waiting", "active" or "refused"; `reason` the proxy's word for a refusal."""

    state: str
    headline: str
    advice: str = ""
    reason: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A configuration with its newest version (0: none yet) and what became of it. `reseal`: a proxy key has no box."""

    config: Config
    version: int
    verdict: Verdict
    reseal: bool = False


def standings(vendor: Vendor, configs: Iterable[Config]) -> list[Standing]:
    """How each of `configs`, all of one vendor, stands; in a fixed number of queries."""
    found = list(configs)
    live = list(live_proxies(vendor))
    active = set(ProxyKey.objects.filter(vendor=vendor, state="active").values_list("key", flat=True))
    said: dict[int, list[ConfigStatus]] = {}
    for status in ConfigStatus.objects.filter(config__in=found, proxy__in=live):
        said.setdefault(status.config_id, []).append(status)
    heads = _heads(found)
    return [_standing(each, heads.get(each.number), said.get(each.number, []), len(live), active) for each in found]


def live_proxies(vendor: Vendor) -> Iterable[ProxyInstance]:
    """The proxies that reported lately."""
    return ProxyInstance.objects.filter(vendor=vendor, seen__gte=timezone.now() - LIVE)


def _heads(configs: Sequence[Config]) -> dict[int, ConfigVersion]:
    newest = ConfigVersion.objects.filter(config=OuterRef("config")).order_by("-version").values("pk")[:1]
    rows = ConfigVersion.objects.filter(config__in=configs, pk=Subquery(newest))
    return {row.config_id: row for row in rows}


def _standing(
    config: Config, head: ConfigVersion | None, statuses: Sequence[ConfigStatus], proxies: int, active: set[str]
) -> Standing:
    if head is None:
        return Standing(config, 0, Verdict("empty", "Not set up yet"))
    verdict = _verdict(config, head.version, [each for each in statuses if each.version == head.version], proxies)
    return Standing(config, head.version, verdict, reseal=not active <= set(head.boxes))


def _verdict(config: Config, version: int, said: Sequence[ConfigStatus], proxies: int) -> Verdict:
    if not config.enabled:
        return Verdict("off", "Switched off", "No proxy uses it. Data under it cannot be opened until it is on again.")
    refused = next((each for each in said if each.state == "refused"), None)
    if refused is not None:
        kept = " The version before stays in use where it worked." if version > 1 else ""
        return Verdict(
            "refused", headline(refused.reason), advice(refused.reason) + kept, refused.reason, refused.since
        )
    if not proxies:
        return Verdict(
            "waiting", "Waiting for a proxy", "No proxy has reported in the last ten minutes. Ask your vendor."
        )
    if len(said) < proxies:
        return Verdict("waiting", "Waiting for the proxy", "It fetches new versions every few seconds and tests them.")
    return Verdict("active", "Working", "Tested by the proxy with a real call.", since=max(each.since for each in said))
