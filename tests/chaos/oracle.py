"""Whether I1 to I8 held: what the SaaS got, against what the tenants' key services and log servers saw."""

from __future__ import annotations

import base64
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.chaos.stage import PROXIES, WORKERS, Customer, Stage
from tests.support.aws_kms import NO, OK, Asked
from tests.support.ledger import Balance, balance
from tests.support.saas import WRAP, Call, Stored, boot
from tsp import edek
from tsp.leases.board import ALONE
from tsp.leases.lease import FALLBACK_SECONDS, life

SLACK = 2.0  # seconds between what a process does and what the other side notes, on a machine that is busy
FLEET_SECONDS = 5.0  # R-5, with Redis
_LOOKED = 15.0  # a call waits at most so long for its leased key
_QUIET = 15.0  # how long Redis must have been well for the fleet to be of one mind


@dataclass
class Verdict:
    """`broken` by invariant; `checked`: how often each was looked at."""

    broken: dict[str, list[str]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    audit: Balance = field(default_factory=lambda: Balance(0, 0, 0, ()))

    def look(self, name: str, fine: bool, what: str = "") -> None:
        self.checked[name] = self.checked.get(name, 0) + 1
        if not fine:
            self.broken.setdefault(name, []).append(what)


class Oracle:
    """Looks at one finished run."""

    def __init__(self, stage: Stage, calls: Sequence[Call]) -> None:
        self._stage, self._calls = stage, sorted(calls, key=lambda call: call.began)
        self._customers = {customer.name: customer for customer in stage.customers}
        self._asked = sorted((one for double in stage.kms for one in list(double.log)), key=lambda one: one.came)
        self._proofs: defaultdict[tuple[str, bytes], list[Asked]] = defaultdict(list)
        self._by_key: defaultdict[str, list[Asked]] = defaultdict(list)
        for one in self._asked:
            self._by_key[one.key].append(one)
            if one.fine:
                self._proofs[one.key, one.blob].append(one)
        self.verdict = Verdict()

    def judge(self) -> Verdict:
        self._proved_before_released()
        self._nothing_after_a_refusal()
        self._one_active_key()
        self._every_key_has_its_event()
        self._no_other_tenant()
        self._versions_only_grow()
        self._one_question_at_a_time()
        return self.verdict

    def memory(self) -> None:
        """I8, when every tenant has said no: no leased key that any key service ever opened is left in any proxy."""
        keys = {one.plain for one in self._asked if one.fine and one.context.get("cmk-purpose") == "lek"}
        for name, proxy in self._stage.proxies.items():
            found = proxy.copies(*keys)
            self.verdict.look("I8", found == 0, f"{name} still holds {found} copies of {len(keys)} leased keys")

    def _released(self) -> Iterator[tuple[Call, Stored, Customer, edek.Edek]]:
        for call in self._calls:
            for one in call.released:
                yield call, one, self._customers[one.tenant], edek.parse(base64.b64decode(one.edek), one.tenant)

    def _proved_before_released(self) -> None:
        for call, one, customer, parsed in self._released():
            blob = edek.blob_of(parsed.elek or parsed.content)
            proofs = [proof for proof in self._proofs[one.tenant, blob] if proof.came <= call.ended]
            if parsed.elek is None:
                fine = any(proof.answered >= call.began - SLACK for proof in proofs)
            else:
                fine = any(self._age(call, proof) <= life(customer.leasing) + SLACK for proof in proofs)
            self.verdict.look("I1", fine, f"{call.id} of {one.tenant}: released without a proof in time")

    def _age(self, call: Call, proof: Asked) -> float:
        """How old the proof was at least, on the clock of the proxy that released."""
        name = self._stage.name_of(call.port)
        moved = sum(one.boot for one in self._stage.shifts if one.proxy == name and proof.came < one.at < call.began)
        return call.began - proof.came + moved

    def _nothing_after_a_refusal(self) -> None:
        """I2, seen from outside: the fleet is shut `FLEET_SECONDS` after the first no, later where Redis was away."""
        for call, one, customer, parsed in self._released():
            lease = parsed.elek is not None
            log = [asked for asked in self._by_key[one.tenant] if asked.came <= call.ended]
            if lease:
                log = [asked for asked in log if asked.context.get("cmk-purpose") == "lek"]
            last_yes = max((asked.came for asked in log if asked.fine), default=0.0)
            noes = [asked.answered for asked in log if asked.mode in NO and asked.came > last_yes]
            first_no = min(noes, default=None)
            if first_no is None:
                continue
            allowed = 0.0
            if lease:
                quiet = self._quiet("redis", first_no) and self._quiet(self._stage.name_of(call.port), first_no)
                allowed = FLEET_SECONDS if quiet else customer.leasing.renew + FALLBACK_SECONDS
            fine = call.began <= first_no + allowed + SLACK
            self.verdict.look("I2", fine, f"{call.id} of {one.tenant}: {call.began - first_no:.1f} s after the refusal")

    def _one_active_key(self) -> None:
        seen: defaultdict[str, set[bytes]] = defaultdict(set)
        calm: defaultdict[str, set[bytes]] = defaultdict(set)
        for call, one, _, parsed in self._released():
            if call.route != WRAP or parsed.elek is None or parsed.digest in seen[one.tenant]:
                continue
            seen[one.tenant].add(parsed.digest)
            if self._quiet("redis", call.began - _QUIET) and not self._alone(call):
                calm[one.tenant].add(parsed.digest)
        for name, digests in calm.items():
            versions = self._customers[name].version
            self.verdict.look("I3", len(digests) <= versions, f"{name}: {len(digests)} keys in {versions} versions")

    def _alone(self, call: Call) -> bool:
        """Whether the proxy itself said that Redis did not answer while it looked for this call's leased key."""
        ahead = time.time() - boot()
        for line in self._stage.proxies[self._stage.name_of(call.port)].process.output().splitlines():
            if ALONE in line:
                at = datetime.fromisoformat(json.loads(line)["time"]).timestamp() - ahead
                if call.began - _LOOKED <= at <= call.ended + 1.0:
                    return True
        return False

    def _every_key_has_its_event(self) -> None:
        events = [event for hook in self._stage.siems for event in list(hook.events)]
        own = [event for event in events if event.get("requesting_id") == "load"]
        self.verdict.audit = found = balance(self._calls, own)
        self.verdict.checked["I4"] = found.released
        if found.faults:
            self.verdict.broken["I4"] = list(found.faults)

    def _no_other_tenant(self) -> None:
        for asked in self._asked:
            bound = asked.context.get("cmk-tenant", "")
            trial = bound == f"{asked.key}-other"  # the self-test of a configuration: it must not open
            fine = bound == asked.key or (trial and not asked.fine)
            self.verdict.look("I5", fine, f"the key of {asked.key} was used for {bound}")
        for call in self._calls:
            self.verdict.look("I5", not call.wrong, f"{call.id}: {call.wrong}")

    def _versions_only_grow(self) -> None:
        newest: dict[tuple[str, str, int], int] = {}
        for report in list(self._stage.feed.reports):
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
        return not any(
            one.what == what and one.ended > since - _QUIET and one.began < since + _QUIET
            for one in self._stage.disturbed
        )
