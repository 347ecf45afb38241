"""Holds what a SaaS got against what the tenants' log servers received: each key that left has its event, once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.saas import Call, mark

_KEYS = {"dek.wrap", "dek.unwrap", "dek.rekey"}


@dataclass(frozen=True, slots=True)
class Balance:
    """`faults` says what does not add up, one line each. `repeats`: events that were delivered again, same id."""

    released: int
    events: int
    repeats: int
    faults: tuple[str, ...]


def balance(calls: Sequence[Call], events: Iterable[dict[str, Any]]) -> Balance:
    """Compare by request and by wrapped key (I4). Events are as the webhook receives them; repeats are dropped by id.

    An answered request has exactly the events of the keys in its answer. One without an answer (its proxy was killed)
    may have the events of keys that were about to leave, never more than it asked for.
    """
    distinct: dict[str, dict[str, Any]] = {}
    repeats = 0
    for event in events:
        if event["action"] in _KEYS:
            repeats += event["id"] in distinct
            distinct[event["id"]] = event
    by_request: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for event in distinct.values():
        if event["outcome"] == "success":
            by_request[event["request_id"]][event["tenant"], event["edek"]] += 1
    faults, released = [], 0
    for call in calls:
        found = by_request.pop(call.id, Counter())
        told = Counter((one.tenant, mark(one)) for one in call.released)
        released += len(call.released)
        if missing := told - found:
            faults.append(f"{call.id}: {sum(missing.values())} keys left without an event: {sorted(missing)}")
        if call.status == 200 and (more := found - told) and not _taken_back(call, more):
            faults.append(f"{call.id}: {sum(more.values())} events too many: {sorted(more)}")
        if sum(found.values()) > call.most:
            faults.append(f"{call.id}: {sum(found.values())} events for at most {call.most} keys")
        faults += [f"{call.id}: another key than was wrapped in {text[:24]}…" for text in call.wrong]
    faults += [f"{name}: an event of a request that nobody made" for name in by_request]
    return Balance(released, len(distinct), repeats, tuple(faults))


def _taken_back(call: Call, more: Counter[tuple[str, str]]) -> bool:
    # In a batch a key whose event is durable may still be held back by a refusal that came meanwhile: then it has
    # a second event, "refused", and is not in the answer.
    return "batch" in call.route and sum(more.values()) <= call.most - len(call.released)
