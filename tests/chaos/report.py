"""What a soak showed, on one page."""

from __future__ import annotations

import statistics
from collections import Counter

from rich.console import Console
from rich.table import Table

from tests.chaos.soak import Outcome

INVARIANTS = {
    "I1": "a key leaves only within its life after a proof of its tenant's key service",
    "I2": "none leaves after a refusal: 5 s fleet-wide, or one renewal where Redis was away",
    "I3": "one leased key a tenant, version and 30 days, but for those that a proxy alone named",
    "I4": "every key that left has its event at the log server, once",
    "I5": "no key service is asked for another tenant, no key opens as another's",
    "I6": "no proxy goes back to an older configuration",
    "I7": "each process asks once at a time for a leased key",
    "I8": "after a refusal no leased key is in any proxy's memory",
}
_SHOWN = 5


def show(outcome: Outcome, console: Console) -> None:
    """One page."""
    calls, verdict = outcome.calls, outcome.verdict
    codes = Counter(call.code for call in calls if call.code)
    statuses = Counter(call.status for call in calls)
    fine = sorted((call.ended - call.began) * 1000 for call in calls if call.status == 200)
    console.print(
        f"seed {outcome.seed}, {outcome.seconds:.0f} s of faults, {len(outcome.told)} of them: "
        + ", ".join(f"{count} × {name}" for name, count in Counter(map(_kind, outcome.told)).most_common())
    )
    console.print(
        f"{len(calls):,} requests: {statuses[200]:,} answered with keys, {statuses[0]:,} without an answer, "
        f"{len(calls) - statuses[200] - statuses[0]:,} errors "
        f"({', '.join(f'{count:,} × {code}' for code, count in codes.most_common(6))})"
    )
    if len(fine) > 1:
        cuts = statistics.quantiles(fine, n=100)
        console.print(
            f"answers: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms; "
            f"key services were asked {outcome.kms_calls:,} times"
        )
    console.print(
        f"{verdict.keys:,} leased keys were wrapped under. I3 leaves out {verdict.alone:,} of them: a proxy that Redis "
        "does not answer goes on with a key of its own until Redis is back (ADR 3), and has named these in its log, "
        "each while something was done to Redis or to it"
    )
    audit = verdict.audit
    console.print(
        f"{audit.released:,} keys released, {audit.events:,} events delivered, {audit.repeats:,} of them more than once"
    )
    if outcome.restarts:
        console.print(
            f"{len(outcome.restarts)} proxies killed: ready after {statistics.median(outcome.restarts):.1f} s in the "
            f"median, {max(outcome.restarts):.1f} s at most"
        )
    console.print(
        f"in peace again: every tenant opens on every proxy after {outcome.healed:.1f} s, the proxies wrap under "
        f"one leased key a tenant after {outcome.together:.1f} s more; then every tenant refuses: the last key left "
        f"{max(outcome.shut, 0.0):.1f} s after that; all events are delivered after {outcome.drained:.1f} s more; "
        f"judged in {outcome.judged:.1f} s"
    )
    table = Table(box=None)
    for title in ("", "invariant", "looked at", "broken"):
        table.add_column(title, justify="right" if title in ("looked at", "broken") else "left")
    for name, text in INVARIANTS.items():
        broken = len(verdict.broken.get(name, []))
        table.add_row(name, text, f"{verdict.checked.get(name, 0):,}", str(broken))
    console.print(table)
    for name, found in verdict.broken.items():
        for line in found[:_SHOWN]:
            console.print(f"{name}: {line}", markup=False)
    for line in outcome.unhealed:
        console.print(line, markup=False)
    console.print("held" if outcome.fine else "BROKEN")


def _kind(told: str) -> str:
    """A fault without the name of whom it hit."""
    first, _, rest = told.partition(": ")
    if told.startswith(("kill", "SIGSTOP")):
        return told.rstrip("0123456789").rstrip("-")
    if rest.startswith("version"):
        return "older version again" if rest.endswith("again") else "new version"
    if rest.endswith("pass"):
        return "clock jump"
    return {"redis": "redis network", "portal": "portal down"}.get(
        first, "key service network" if "key service" in first else "log server" if "log" in first else "key withheld"
    )
