"""Killed again and again under writers, `encrypt_existing` loses nothing and seals nothing twice. Nor does `rekey`."""

from __future__ import annotations

from tests.support.moving_soak import Soak
from tests.support.sandbox import sandbox

ROWS, KILLS = 6_000, 5


def test_loses_nothing_when_it_is_killed_under_writers(postgres_url: str) -> None:
    with sandbox("a", "b", leased=True) as proxy:
        soak = Soak(ROWS, postgres_url, proxy)
        outcome, rekeyed = soak.run(KILLS), soak.rekey(1)
    assert outcome.kills == KILLS
    assert outcome.written > 100  # there were writers
    assert (outcome.lost, outcome.doubled, outcome.left) == (0, 0, 0)
    assert (rekeyed.kills, rekeyed.written) == (1, ROWS)
    assert (rekeyed.lost, rekeyed.doubled, rekeyed.left) == (0, 0, 0)
