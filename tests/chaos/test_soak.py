"""A short soak in each test run; `make chaos` is the long one. Q-15."""

from __future__ import annotations

import pytest
from rich.console import Console

from tests.chaos.report import INVARIANTS, show
from tests.chaos.soak import soak


@pytest.mark.timeout(400)
def test_half_a_minute_of_faults_breaks_nothing() -> None:
    """I1 to I8 over the merged log of the SaaS, the key services, the log servers and the portal."""
    outcome = soak(20.0, 2026, every=2.0, progress=lambda done, what: None)
    show(outcome, Console(width=120))
    assert outcome.verdict.broken == {}
    assert outcome.unhealed == []
    assert outcome.verdict.audit.released > 100
    assert {name for name, count in outcome.verdict.checked.items() if count} >= INVARIANTS.keys() - {"I2"}
