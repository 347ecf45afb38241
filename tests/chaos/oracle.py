"""Whether I1 to I8 held: what the SaaS got, against what the tenants' key services and log servers saw.

Everything is sorted once, and looked up by EDEK, tenant and time: twice the run is twice the work.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tests.chaos.evidence import PROXIES, WORKERS, Alone, Customer, Evidence
from tests.chaos.timeline import Jumps, Proofs, Spans, Words
from tests.support.aws_kms import OK, Asked
from tests.support.ledger import Balance, balance
from tests.support.saas import BATCH_REKEY, BATCH_WRAP, REKEY, WRAP, Call, Stored
from tsp import edek
from tsp.leases.lease import FALLBACK_SECONDS, life

SLACK = 2.0  # seconds between what a process does and what the other side notes, on a machine that is busy
FLEET_SECONDS = 5.0  # R-5, with Redis
_QUIET = 15.0  # how long Redis must have been well for the fleet to hear of a refusal
_SILENT = 20.0  # twice a time-out of Redis and a call to the key service: then a proxy has said that it is alone


class Memory(Protocol):
    """A process whose memory is open to the test."""

    def copies(self, *secrets: bytes) -> int: ...


@dataclass
class Verdict:
    """`broken` by invariant; `checked`: how often each was looked at. `keys`: how many leased keys were wrapped under;
    `alone`: those of them that I3 leaves out.
    """

    broken: dict[str, list[str]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    audit: Balance = field(default_factory=lambda: Balance(0, 0, 0, ()))
    keys: int = 0
    alone: int = 0

    def look(self, name: str, fine: bool, what: str = "") -> None:
        self.checked[name] = self.checked.get(name, 0) + 1
        if not fine:
            self.broken.setdefault(name, []).append(what)


@dataclass(frozen=True, slots=True)
class _Release:
    """A key that left. `made`: it was wrapped in this call."""

    call: Call
    stored: Stored
    customer: Customer
    parsed: edek.Edek
    made: bool

    @property
    def told(self) -> str:
        return f"{self.call.id} of {self.stored.tenant}"


class Oracle:
    """Looks at one finished run."""

    def __init__(self, evidence: Evidence) -> None:
        self.verdict = Verdict()
        self._evidence = evidence
        self._asked = sorted(evidence.asked, key=lambda one: one.came)
        customers = {one.name: one for one in evidence.customers}
        self._released = [
            _Release(call, one, customers[one.tenant], _parse(one), _made(call, at))
            for call in sorted(evidence.calls, key=lambda call: call.began)
            for at, one in enumerate(call.released)
        ]
        proofs: defaultdict[tuple[str, bytes], list[Asked]] = defaultdict(list)
        words: defaultdict[tuple[str, bool], list[Asked]] = defaultdict(list)
        for one in self._asked:
            if one.fine:
                proofs[one.key, one.blob].append(one)
            words[one.key, False].append(one)
            if one.context.get("cmk-purpose") == "lek":
                words[one.key, True].append(one)
        self._proofs = {place: Proofs(found) for place, found in proofs.items()}
        self._words = {place: Words(found) for place, found in words.items()}
        names = set(evidence.ports.values())
        self._jumps = {name: Jumps(one for one in evidence.shifts if one.proxy == name) for name in names}
        self._spans = {what: Spans(one for one in evidence.disturbed if one.what == what) for what in names | {"redis"}}

    def judge(self) -> Verdict:
        self._proved_before_released()
        self._nothing_after_a_refusal()
        self._one_active_key()
        self._every_key_has_its_event()
        self._no_other_tenant()
        self._versions_only_grow()
        self._one_question_at_a_time()
        return self.verdict

    def memory(self, proxies: Mapping[str, Memory]) -> None:
        """I8, when every tenant has said no: no leased key that any key service ever opened is left in any proxy."""
        keys = {one.plain for one in self._asked if one.fine and one.context.get("cmk-purpose") == "lek"}
        for name, proxy in proxies.items():
            found = proxy.copies(*keys)
            self.verdict.look("I8", found == 0, f"{name} still holds {found} copies of {len(keys)} leased keys")

    def _proved_before_released(self) -> None:
        """I1. Clocks only go forward, so the newest proof is the youngest one."""
        for one in self._released:
            call, blob = one.call, edek.blob_of(one.parsed.elek or one.parsed.content)
            proofs = self._proofs.get((one.stored.tenant, blob), _NONE)
            if one.parsed.elek is None:
                answered = proofs.answered(call.ended)
                fine = answered is not None and answered >= call.began - SLACK
            else:
                came = proofs.newest(call.ended)
                fine = came is not None and self._age(call, came) <= life(one.customer.leasing) + SLACK
            self.verdict.look("I1", fine, f"{one.told}: released without a proof in time")

    def _age(self, call: Call, came: float) -> float:
        """How old a proof was at least, on the clock of the proxy that released."""
        return call.began - came + self._jumps[self._name(call)].between(came, call.began)

    def _nothing_after_a_refusal(self) -> None:
        """I2, seen from outside: the fleet is shut `FLEET_SECONDS` after the first no, later where Redis was away."""
        for one in self._released:
            call, lease = one.call, one.parsed.elek is not None
            words = self._words.get((one.stored.tenant, lease))
            first_no = words.first_no(call.ended) if words else None
            if first_no is None:
                continue
            allowed = 0.0
            if lease:
                quiet = self._quiet("redis", first_no) and self._quiet(self._name(call), first_no)
                allowed = FLEET_SECONDS if quiet else one.customer.leasing.renew + FALLBACK_SECONDS
            late = call.began - first_no
            self.verdict.look("I2", late <= allowed + SLACK, f"{one.told}: {late:.1f} s after the refusal")

    def _one_active_key(self) -> None:
        """I3: what the fleet wrapped under. A proxy that Redis does not answer goes on with a key of its own, and says
        which (docs/adr/0003): that very key is left out if there was a reason, nothing else is.
        """
        used: defaultdict[str, set[str]] = defaultdict(set)
        for one in self._released:
            if one.made and one.parsed.elek is not None:
                used[one.stored.tenant].add(one.parsed.digest[:8].hex())
        alone = {(one.tenant, one.key) for one in self._evidence.alone if self._provoked(one)}
        for customer in self._evidence.customers:
            keys = used[customer.name]
            if not keys:
                continue
            agreed = {key for key in keys if (customer.name, key) not in alone}
            slots = customer.slots(self._evidence.walls)
            self.verdict.keys += len(keys)
            self.verdict.alone += len(keys) - len(agreed)
            self.verdict.look("I3", len(agreed) <= slots, f"{customer.name}: {len(agreed)} keys where {slots} may be")

    def _provoked(self, said: Alone) -> bool:
        """Whether Redis or the proxy was disturbed shortly before it said that it is alone."""
        return any(self._spans[what].touch(said.at - _SILENT, said.at) for what in ("redis", said.proxy))

    def _every_key_has_its_event(self) -> None:
        own = [event for event in self._evidence.events if event.get("requesting_id") == "load"]
        self.verdict.audit = found = balance(self._evidence.calls, own)
        self.verdict.checked["I4"] = found.released
        if found.faults:
            self.verdict.broken["I4"] = list(found.faults)

    def _no_other_tenant(self) -> None:
        for asked in self._asked:
            bound = asked.context.get("cmk-tenant", "")
            trial = bound == f"{asked.key}-other"  # the self-test of a configuration: it must not open
            fine = bound == asked.key or (trial and not asked.fine)
            self.verdict.look("I5", fine, f"the key of {asked.key} was used for {bound}")
        for call in self._evidence.calls:
            self.verdict.look("I5", not call.wrong, f"{call.id}: {call.wrong}")

    def _versions_only_grow(self) -> None:
        newest: dict[tuple[str, str, int], int] = {}
        for report in self._evidence.reports:
            for result in report["results"]:
                if result["state"] != "active":
                    continue
                place = report["tsp"], result["tenant"], result["config"]
                self.verdict.look(
                    "I6", result["version"] >= newest.get(place, 0), f"{place} went back to {result['version']}"
                )
                newest[place] = max(newest.get(place, 0), result["version"])

    def _one_question_at_a_time(self) -> None:
        """I7: the other side cannot tell the processes apart, so no more than there are processes."""
        inside: defaultdict[tuple[str, bytes], list[Asked]] = defaultdict(list)
        for asked in self._asked:
            if asked.operation == "Decrypt" and asked.context.get("cmk-purpose") == "lek" and asked.mode == OK:
                place = asked.key, asked.blob
                inside[place] = [one for one in inside[place] if one.answered > asked.came]
                inside[place].append(asked)
                self.verdict.look("I7", len(inside[place]) <= PROXIES + WORKERS, f"{asked.key}: {len(inside[place])}")

    def _quiet(self, what: str, since: float) -> bool:
        """Whether `what` was left alone around `since`, and for `_QUIET` seconds after it."""
        return not self._spans[what].touch(since - _QUIET, since + _QUIET)

    def _name(self, call: Call) -> str:
        return self._evidence.ports[call.port]


_NONE = Proofs([])


def _parse(one: Stored) -> edek.Edek:
    return edek.parse(base64.b64decode(one.edek), one.tenant)


def _made(call: Call, at: int) -> bool:
    """Whether its key number `at` was wrapped in it: of a rekey that is each second one."""
    return call.route in (WRAP, BATCH_WRAP) or (call.route in (REKEY, BATCH_REKEY) and at % 2 == 1)
