"""One run: load, faults, then peace, and the verdict."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.faults import Chaos
from tests.chaos.oracle import FLEET_SECONDS, Oracle, Verdict
from tests.chaos.stage import Stage
from tests.support.aws_kms import REFUSE
from tests.support.ledger import balance
from tests.support.saas import (
    BATCH_REKEY,
    BATCH_UNWRAP,
    BATCH_WRAP,
    FOREIGN,
    REKEY,
    UNWRAP,
    WRAP,
    Call,
    Saas,
    Stored,
    boot,
)
from tests.tsp.doubles import request

EVERY = 5.0  # seconds between two faults
_ROUTES = (WRAP, UNWRAP, UNWRAP, UNWRAP, BATCH_WRAP, BATCH_UNWRAP, REKEY, BATCH_REKEY, FOREIGN)
_HEAL_SECONDS = 120.0  # by then everything serves again; probes and retries are a minute apart


@dataclass
class Outcome:
    """What `report` prints. `unhealed` names what did not come back by itself."""

    seed: int
    seconds: float
    told: list[str]
    calls: list[Call]
    verdict: Verdict
    restarts: list[float]
    healed: float
    together: float
    shut: float
    drained: float
    judged: float
    kms_calls: int
    unhealed: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        return not self.verdict.broken and not self.unhealed


def soak(seconds: float, seed: int, *, every: float = EVERY, progress: Callable[[float, str], None]) -> Outcome:
    """`progress` hears how much of it is done, from 0 to 1, and the last fault."""
    stage = Stage()
    try:
        names = [customer.name for customer in stage.customers]
        load = Saas(
            [proxy.port for proxy in stage.proxies.values()], names, threads=6, pause=0.02, seed=seed, routes=_ROUTES
        )
        _until(lambda: load.served() > 50, 60)
        chaos, began = Chaos(stage, seed), time.monotonic()
        while (gone := time.monotonic() - began) < seconds:
            progress(gone / seconds, chaos.strike())
            time.sleep(min(every, seconds - gone))
        chaos.end()
        progress(1.0, "peace")
        healed, unhealed = _heals(stage, load.calls)
        together = _until(lambda: not stage.parted(), _HEAL_SECONDS)
        unhealed += [f"{name}: its proxies do not wrap under one leased key again" for name in stage.parted()]
        unhealed += [f"the soak itself: {error!r}" for error in chaos.errors]
        shut = _all_refuse(stage, load.calls)
        calls = load.stop()
        drained = _drains(stage, calls)
        judging = time.monotonic()
        oracle = Oracle(stage.evidence(calls))
        verdict = oracle.judge()
        judged = time.monotonic() - judging
        oracle.memory(stage.proxies)
        kms_calls = sum(len(double.log) for double in stage.kms)
        return Outcome(
            seed, seconds, chaos.told, calls, verdict, stage.restarts, healed, together, shut, drained, judged,
            kms_calls, unhealed,
        )  # fmt: skip
    finally:
        stage.stop()


def _heals(stage: Stage, calls: list[Call]) -> tuple[float, list[str]]:
    """Seconds until the newest row of every tenant opens on every proxy (R-31), and who was never there."""
    began = time.monotonic()
    rows: dict[str, Stored] = {one.tenant: one for call in list(calls) for one in call.released}
    left = {(name, tenant) for name in stage.proxies for tenant in rows}
    while left and time.monotonic() - began < _HEAL_SECONDS:
        for name, tenant in sorted(left):
            body = request(tenant, encryptedDocumentKey=rows[tenant].edek)
            try:
                if stage.proxies[name].post("document/unwrap", body)["dek"] == rows[tenant].dek:
                    left.discard((name, tenant))
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
    return time.monotonic() - began, [f"{name}: {tenant} is not served again" for name, tenant in sorted(left)]


def _drains(stage: Stage, calls: list[Call]) -> float:
    """Seconds until the log servers have every event; what they lack then is I4's to say."""

    def arrived() -> bool:
        events = [event for hook in stage.siems for event in list(hook.events)]
        return not balance(calls, [one for one in events if one.get("requesting_id") == "load"]).faults

    return _until(arrived, _HEAL_SECONDS, pause=1.0)


def _all_refuse(stage: Stage, calls: list[Call]) -> float:
    """Under load every tenant says no, and five minutes pass: seconds from then until the last key left."""
    for customer in stage.customers:
        stage.kms[customer.kms].tell(customer.name, REFUSE)
    for name in stage.proxies:
        stage.shift(name, 331.0, 331.0)
    began = boot()
    _until(lambda: all('"leases":[]' in proxy.get("/leases")[1] for proxy in stage.proxies.values()), 30)
    time.sleep(2 * FLEET_SECONDS)
    return max(call.ended for call in list(calls) if call.released) - began


def _until(condition: Callable[[], bool], seconds: float, pause: float = 0.1) -> float:
    """Seconds until it was so, at most about `seconds`."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began <= seconds:
        time.sleep(pause)
    return time.monotonic() - began
