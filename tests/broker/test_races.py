"""Many at once, on both databases: one version wins, one number is given, and the feed never skips a record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.broker.race import ROUNDS, THREADS
from tests.support.processes import ROOT

Found = dict[str, Any]


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What happened when THREADS threads wrote at once."""
    folder: Path = tmp_path_factory.mktemp("race")
    url = f"sqlite:///{folder / 'race.sqlite3'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").database()
    done = subprocess.run(
        [sys.executable, "-m", "tests.broker.race"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: Found = json.loads(done.stdout.splitlines()[-1])
    assert told["engine"] == request.param
    return told


def test_of_many_who_publish_the_same_version_one_wins(found: Found) -> None:
    """Optimistic: the version in the record is the one that was drafted."""
    for outcomes in found["same_version"]:
        assert sorted(outcomes) == ["kept"] + ["stale"] * (THREADS - 1)


def test_of_many_who_allocate_all_get_the_same_number(found: Found) -> None:
    assert found["one_number"] == [1, 1, 2]


def test_of_many_who_switch_off_one_does(found: Found) -> None:
    """T-21"""
    assert found["switched"] == 1


def test_of_many_who_invite_one_does(found: Found) -> None:
    assert found["joined"] == [1, 1]


def test_of_many_proxies_that_make_a_secret_one_wins_and_the_others_get_its_secret(found: Found) -> None:
    for made, count in ((found["secrets"]["first"], 1), (found["secrets"]["second"], 2)):
        assert sorted(status for status, _ in made) == [200] * (THREADS - 1) + [201]
        assert all(secrets == made[0][1] for _, secrets in made)
        assert len(made[0][1]) == count


def test_of_many_who_rotate_one_does_and_a_secret_to_encrypt_with_is_left(found: Found) -> None:
    told = found["secrets"]
    assert told["begun"] == 1
    assert [told["crossed"][at] for at in range(0, THREADS, 2)].count("done") == 1, "the old one is archived once"
    begun = "done" in [told["crossed"][at] for at in range(1, THREADS, 2)]
    assert told["states"] == {"1": "archived", "2": "in_rotation" if begun else "current"}
    assert told["rows"] == 2 + 1 + 1 + begun, "each write left one row, and nothing else did"


def test_a_proxy_that_follows_the_feed_misses_nothing(found: Found) -> None:
    """A record is never committed behind a higher sequence number that was already seen."""
    assert len(found["published"]) == THREADS * ROUNDS
    assert found["seen"] == found["published"]
