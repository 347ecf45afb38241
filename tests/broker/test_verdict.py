"""What people are told about a configuration, from what the proxies say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from broker import services, verdict
from broker.advice import ADVICE, advice
from broker.models import Config, ProxyInstance
from broker.services.proxies import Result
from tests.broker.factories import BY, ProxyKeyFactory, TenantFactory, publish
from tsp.configs.admission import REASONS

pytestmark = pytest.mark.django_db


def say(config: Config, proxy: str, state: str, reason: str = "", version: int | None = None) -> None:
    newest = version or services.draft(config).version - 1
    results = [Result(config.tenant.name, config.number, newest, state, reason)]
    services.record_status(
        vendor=config.tenant.vendor, proxy=proxy, version="1", keys=[], results=results if newest else [], by=BY
    )


def state(config: Config) -> str:
    config.refresh_from_db()
    return verdict.standings(config.tenant.vendor, [config])[0].verdict.state


def test_nothing_sealed_is_empty(config: Config) -> None:
    assert state(config) == "empty"


def test_waits_until_every_live_proxy_has_spoken(config: Config) -> None:
    publish(config)
    assert state(config) == "waiting"
    say(config, "a", "active")
    services.record_status(vendor=config.tenant.vendor, proxy="b", version="1", keys=[], results=[], by=BY)
    assert state(config) == "waiting"
    say(config, "b", "active")
    assert state(config) == "active"


def test_one_refusal_is_a_refusal(config: Config) -> None:
    publish(config)
    say(config, "a", "active")
    say(config, "b", "refused", "kms_refused")
    found = verdict.standings(config.tenant.vendor, [config])[0].verdict
    assert (found.state, found.reason, found.headline) == ("refused", "kms_refused", "Your key service refused")


def test_a_report_on_an_older_version_does_not_count(config: Config) -> None:
    publish(config)
    say(config, "a", "active")
    publish(config)
    assert state(config) == "waiting"
    say(config, "a", "active", version=1)
    assert state(config) == "waiting"


def test_a_refused_new_version_says_that_the_old_one_stays(config: Config) -> None:
    publish(config)
    publish(config)
    say(config, "a", "refused", "bad_options")
    assert "version before stays" in verdict.standings(config.tenant.vendor, [config])[0].verdict.advice


def test_a_proxy_that_fell_silent_no_longer_counts(config: Config) -> None:
    publish(config)
    say(config, "gone", "refused", "kms_unreachable")
    ProxyInstance.objects.update(seen=timezone.now() - verdict.LIVE - timedelta(seconds=1))
    assert state(config) == "waiting"
    say(config, "new", "active")
    assert state(config) == "active"


def test_switched_off_comes_first(config: Config) -> None:
    publish(config)
    say(config, "a", "active")
    services.set_config_enabled(config=config, enabled=False, by=BY)
    assert state(config) == "off"


def test_every_reason_of_the_proxy_has_advice() -> None:
    assert set(ADVICE) == set(REASONS)


def test_an_unknown_reason_is_shown_as_the_proxy_said_it() -> None:
    assert "brand_new_reason" in advice("brand_new_reason")
    assert "no reason given" in advice("")


def test_asks_to_seal_again_when_a_proxy_key_has_no_box(config: Config) -> None:
    publish(config)
    assert verdict.standings(config.tenant.vendor, [config])[0].reseal is False
    ProxyKeyFactory(vendor=config.tenant.vendor)
    assert verdict.standings(config.tenant.vendor, [config])[0].reseal is True


def test_asks_the_database_as_often_for_one_as_for_many(config: Config, django_assert_num_queries: object) -> None:
    vendor = config.tenant.vendor
    many = [
        config,
        *(services.allocate_config(tenant=TenantFactory(vendor=vendor), kind="kms", by=BY) for _ in range(9)),
    ]
    for each in many:
        publish(each)
        say(each, "a", "active")
    for configs in (many[:1], many):
        with django_assert_num_queries(4):  # type: ignore[operator]
            found = verdict.standings(vendor, configs)
        assert [standing.verdict.state for standing in found] == ["active"] * len(configs)
