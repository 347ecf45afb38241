"""A process that lives for a month while its tenants' credentials do not. R-7."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aws_kms import AwsKmsDouble, aws_kms, body_for
from tests.support.feed import FeedServer
from tests.support.people import NORTH, SOUTH, document, sealed_record
from tests.support.watched import Watched
from tests.tsp.doubles import request
from tsp.contract.tenant import Leasing


@pytest.fixture
def kms() -> Iterator[AwsKmsDouble]:
    with aws_kms() as found:
        yield found


class Month:
    """A proxy of tenants north (leased) and south (direct), and what they seal."""

    def __init__(self, folder: Path, kms: AwsKmsDouble) -> None:
        self.kms, self.feed, self.version = kms, FeedServer(), 0
        self.previous = {NORTH: "", SOUTH: ""}
        self.seal()
        self.proxy = Watched(folder, self.feed)
        self.proxy.ready()

    def seal(self) -> str:
        """Both seal new credentials; returns the access key."""
        self.version += 1
        access_key = f"AKIANUMBER{self.version}"
        for at, name in enumerate((NORTH, SOUTH)):
            body = body_for(name, self.kms.port, leasing=Leasing(enabled=name == NORTH), access_key=access_key)
            made = document(name, 1 + at, body=body, version=self.version, previous=self.previous[name])
            record = sealed_record(made, sequence=len(self.feed.records) + 1)
            self.previous[name] = record.hash
            self.feed.records.append(record)
        return access_key

    def taken_over(self) -> None:
        """Waits until the proxy uses the newest credentials of both."""
        until = time.monotonic() + 30
        wanted = {(name, self.version, "active") for name in (NORTH, SOUTH)}
        while not wanted <= {(one["tenant"], one["version"], one["state"]) for one in self._results()}:
            assert time.monotonic() < until
            time.sleep(0.05)

    def opens(self, rows: dict[str, dict[str, str]]) -> list[bool | int]:
        """For each row: whether its key is right, or the error's code."""
        return [self._open(name, row) for name, row in rows.items()]

    def _open(self, name: str, row: dict[str, str]) -> bool | int:
        try:
            answer = self.proxy.post("document/unwrap", request(name, encryptedDocumentKey=row["edek"]))
        except urllib.error.HTTPError as error:
            return int(json.loads(error.read())["code"])
        return bool(answer["dek"] == row["dek"])

    def _results(self) -> list[dict[str, str]]:
        return [result for report in list(self.feed.reports) for result in report["results"]]


@pytest.fixture
def month(tmp_path: Path, kms: AwsKmsDouble) -> Iterator[Month]:
    found = Month(tmp_path, kms)
    yield found
    found.proxy.close()
    found.feed.stop()


def test_credentials_that_expire_are_replaced_without_a_restart_and_without_an_error(month: Month) -> None:
    """R-7: 30 days, six pairs of credentials; what was wrapped under the first opens under the last."""
    rows = {name: month.proxy.post("document/wrap", request(name)) for name in (NORTH, SOUTH)}
    pid, old = month.proxy.process.pid, "AKIANUMBER1"
    for _ in range(6):
        new = month.seal()
        month.taken_over()
        month.kms.expired.add(old)
        old = new
        for _ in range(5):
            month.proxy.pass_time(86_400)
            assert month.opens(rows) == [True, True]
    assert month.proxy.process.pid == pid
    assert len(month.kms.expired) == 6


def test_expired_credentials_are_a_refusal_until_new_ones_are_sealed(month: Month) -> None:
    """R-7, R-5: no key leaves on credentials that are no longer good; new ones heal it by themselves."""
    rows = {name: month.proxy.post("document/wrap", request(name)) for name in (NORTH, SOUTH)}
    month.kms.expired.add("AKIANUMBER1")
    month.proxy.pass_time(331)
    until = time.monotonic() + 20
    while month.opens(rows) != [206, 206]:
        assert time.monotonic() < until
        time.sleep(0.05)
    month.seal()
    month.taken_over()
    while month.opens(rows) != [True, True]:
        assert time.monotonic() < until + 20
        time.sleep(0.05)
