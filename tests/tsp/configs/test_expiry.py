"""Before credentials or certificates end, the tenant's own log is told: 14, 3 and 1 days ahead, once each. R-7."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import redis.asyncio

from tests.support.ca import Authority
from tests.support.people import NORTH, SOUTH, VENDOR, document
from tests.tsp.configs.conftest import Mail
from tsp.configs import Shelf
from tsp.configs.active import ActiveKms, ActiveSiem
from tsp.configs.expiry import Expiry
from tsp.configs.news import News
from tsp.configs.roster import Roster
from tsp.configs.shared_marks import SharedMarks
from tsp.contract import options
from tsp.contract.options import OptionError
from tsp.contract.tenant import KmsBody, SiemBody
from tsp.egress import Egress
from tsp.kms.aws import AwsKms

DAY = 86_400
START = datetime.datetime(2027, 1, 1, 12, tzinfo=datetime.UTC).timestamp()
AWS = {
    "key_arn": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "region": "eu-central-1",
    "access_key_id": "AKIAEXAMPLE",
    "secret_access_key": "the-secret-of-north",
}


class Clock:
    """Seconds since 1970, moved by days."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def aws(roster: Roster, expires: str, name: str = NORTH, config: int = 1, version: int = 1) -> None:
    body = KmsBody("aws", {**AWS, "expires": expires} if expires else AWS)
    previous = "" if version == 1 else "0" * 64
    roster.place(name, ActiveKms(document(name, config, body=body, version=version, previous=previous), Egress()))


def told(mail: Mail) -> list[tuple[str, int, str, str]]:
    return [(queue, event.config, event.custom["ends"], event.custom["days"]) for queue, event in mail.sent]


class Watch:
    """An Expiry over a roster that the test fills."""

    def __init__(self, folder: Path, shared: SharedMarks | None = None) -> None:
        self.roster, self.mail, self.clock = Roster(VENDOR), Mail(), Clock()
        self.expiry = Expiry(self.roster, News(VENDOR, "tsp-1", self.mail, Shelf(folder)), shared, self.clock)

    async def days(self, count: int) -> None:
        """A look every half hour."""
        for _ in range(count * 48):
            self.clock.now += DAY / 48
            await self.expiry.look()


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


async def test_the_tenants_log_is_told_14_3_and_1_days_ahead_and_at_the_end(watch: Watch) -> None:
    aws(watch.roster, "2027-02-01")
    await watch.days(40)
    assert told(watch.mail) == [(NORTH, 1, "2027-02-01", days) for days in ("14", "3", "1", "0")]
    assert {event.action for _, event in watch.mail.sent} == {"config.expiring"}
    assert "the-secret-of-north" not in repr(watch.mail.sent)


async def test_new_credentials_end_the_warnings(watch: Watch) -> None:
    aws(watch.roster, "2027-01-10")
    await watch.days(1)
    aws(watch.roster, "2027-12-31", version=2)
    await watch.days(30)
    assert told(watch.mail) == [(NORTH, 1, "2027-01-10", "14")]


async def test_who_says_nothing_of_an_end_hears_nothing(watch: Watch) -> None:
    aws(watch.roster, "")
    aws(watch.roster, "2027-01-04", SOUTH, 2)
    watch.roster.switch([2])  # and what is switched off does not matter
    await watch.days(10)
    assert told(watch.mail) == []


async def test_a_certificate_says_itself_when_it_ends(watch: Watch) -> None:
    """One tenant's unreadable certificate keeps nobody else from being warned (R-14)."""
    authority = Authority()
    for name, pem in ((SOUTH, "no certificate"), (NORTH, authority.pem)):
        hook = {"url": "https://siem.example.com", "secret": "whsec_" + "A" * 32, "ca_pem": pem}
        roster_body = SiemBody("webhook", hook)
        watch.roster.place(name, ActiveSiem(document(name, 5, body=roster_body), Egress()))
    ends = authority.ends
    watch.clock.now = (ends - datetime.timedelta(days=2)).timestamp()
    await watch.expiry.look()
    assert told(watch.mail) == [(NORTH, 5, ends.date().isoformat(), "3")]


async def test_of_several_proxies_with_redis_one_tells(tmp_path: Path, redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    watches = [Watch(tmp_path / str(number), SharedMarks(client, VENDOR)) for number in range(3)]
    for watch in watches:
        aws(watch.roster, "2027-01-10")
        await watch.days(12)
    sent = [one for watch in watches for one in told(watch.mail)]
    assert sorted(days for *_, days in sent) == ["0", "1", "14", "3"]
    await client.aclose()


@pytest.mark.parametrize("text", ["soon", "2027-02-30", "20270131", "2027-1-1", " 2027-01-31"])
def test_a_day_is_written_in_one_way(text: str) -> None:
    with pytest.raises(OptionError, match="expires"):
        options.load(AwsKms.Config, {**AWS, "expires": text})
