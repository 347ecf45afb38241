"""The oracle can say no: for each invariant a history, made by hand, that breaks it and nothing else. Q-15."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.evidence import PROXIES, WORKERS, Alone, Disturbed, Shift
from tests.chaos.history import DIRECT, LEASED, NOW, History, Key
from tests.support.aws_kms import DISABLED, OK, REFUSE, THROTTLE
from tests.support.saas import BATCH_REKEY, BATCH_WRAP, REKEY, UNWRAP, WRAP, Call


class Process:
    """Something with a memory."""

    def __init__(self, memory: bytes) -> None:
        self._memory = memory

    def copies(self, *secrets: bytes) -> int:
        return sum(self._memory.count(secret) for secret in secrets)


@pytest.fixture
def history() -> History:
    return History()


def test_a_history_in_which_nothing_is_wrong(history: History) -> None:
    oracle = history.oracle()
    verdict = oracle.judge()
    oracle.memory({"tsp-1": Process(os.urandom(1_000))})
    assert verdict.broken == {}
    assert verdict.checked == {"I1": 3, "I3": 1, "I4": 3, "I5": 5, "I6": 1, "I7": 1, "I8": 1}  # and I2: nobody refused


# I1


def test_i1_a_leased_key_that_left_when_its_proof_was_too_old(history: History) -> None:
    history.released(NOW + 3_601, UNWRAP, history.row)
    assert history.broken() == {}
    history.released(NOW + 3_603, UNWRAP, history.row)
    assert history.broken() == {"I1": 1}


def test_i1_a_proof_is_as_old_as_the_clock_of_the_proxy_says(history: History) -> None:
    history.shifts.append(Shift("tsp-1", NOW + 5, 3_601.0))
    history.released(NOW + 9, UNWRAP, history.row, port=8002)
    assert history.broken() == {}
    history.released(NOW + 9, UNWRAP, history.row, port=8001)
    assert history.broken() == {"I1": 1}


def test_i1_a_leased_key_that_no_key_service_ever_opened(history: History) -> None:
    unknown = Key(LEASED)
    history.released(NOW + 9, UNWRAP, unknown.row())
    assert history.broken() == {"I1": 1}


def test_i1_a_proof_that_was_asked_for_when_the_key_had_left(history: History) -> None:
    late = Key(LEASED)
    history.released(NOW + 9, UNWRAP, late.row())
    history.asked.append(late.asked(NOW + 10))
    assert history.broken() == {"I1": 1}


def test_i1_a_direct_key_is_proved_in_its_own_call(history: History) -> None:
    history.released(NOW + 5, UNWRAP, history.row_of_direct)  # answered within the slack
    assert history.broken() == {}
    history.released(NOW + 9, UNWRAP, history.row_of_direct)
    assert history.broken() == {"I1": 1}


# I2


def test_i2_a_leased_key_that_left_after_the_fleet_must_know_of_the_refusal(history: History) -> None:
    history.asked.append(history.key.asked(NOW + 100, REFUSE))
    history.released(NOW + 106, UNWRAP, history.row, port=8002)
    assert history.broken() == {}
    history.released(NOW + 107.5, UNWRAP, history.row, port=8002)
    assert history.broken() == {"I2": 1}


def test_i2_without_redis_it_has_one_renewal(history: History) -> None:
    history.asked.append(history.key.asked(NOW + 100, DISABLED))
    history.disturbed.append(Disturbed("redis", NOW + 99, NOW + 101))
    history.released(NOW + 430, UNWRAP, history.row, port=8002)
    assert history.broken() == {}
    history.released(NOW + 433, UNWRAP, history.row, port=8002)
    assert history.broken() == {"I2": 1}


def test_i2_a_disturbance_of_something_else_excuses_nothing(history: History) -> None:
    history.asked.append(history.key.asked(NOW + 100, REFUSE))
    history.disturbed += [Disturbed("tsp-3", NOW + 99, NOW + 101), Disturbed("redis", NOW + 20, NOW + 80)]
    history.released(NOW + 110, UNWRAP, history.row, port=8002)
    assert history.broken() == {"I2": 1}


def test_i2_it_is_the_first_no_that_counts_and_a_yes_ends_it(history: History) -> None:
    history.asked += [history.key.asked(NOW + at, REFUSE) for at in (100, 108)]
    history.released(NOW + 109, UNWRAP, history.row)
    assert history.broken() == {"I2": 1}
    history.asked.append(history.key.asked(NOW + 108.5))
    assert history.broken() == {}


def test_i2_a_key_service_that_throttles_has_not_refused(history: History) -> None:
    history.asked.append(history.key.asked(NOW + 100, THROTTLE))
    history.released(NOW + 200, UNWRAP, history.row)
    verdict = history.verdict()
    assert verdict.broken == {}
    assert "I2" not in verdict.checked


# I3


def test_i3_a_second_leased_key_of_one_version(history: History) -> None:
    second = Key(LEASED)
    history.asked.append(second.asked(NOW + 4))
    history.released(NOW + 5, WRAP, second.row())
    assert history.broken() == {"I3": 1}


@pytest.mark.parametrize("route", [BATCH_WRAP, REKEY, BATCH_REKEY])
def test_i3_whatever_it_was_wrapped_by(history: History, route: str) -> None:
    second = Key(LEASED)
    history.asked.append(second.asked(NOW + 4))
    history.released(NOW + 5, route, history.row, second.row())
    assert history.broken() == {"I3": 1}


def test_i3_an_unwrap_makes_no_key_active(history: History) -> None:
    old = Key(LEASED)
    history.asked.append(old.asked(NOW + 4))
    history.released(NOW + 5, UNWRAP, old.row())
    assert history.broken() == {}


def test_i3_each_version_has_its_own_key_and_each_thirty_days(history: History) -> None:
    second = Key(LEASED)
    history.asked.append(second.asked(NOW + 4))
    history.released(NOW + 5, WRAP, second.row())
    history.customers[0].version = 2
    assert history.broken() == {}
    history.customers[0].version = 1
    history.walls = history.walls[0], history.walls[0] + 30 * 86_400
    assert history.broken() == {}


def test_i3_leaves_out_the_very_key_that_a_proxy_said_it_is_alone_with(history: History) -> None:
    second, third = Key(LEASED), Key(LEASED)
    history.asked += [second.asked(NOW + 4), third.asked(NOW + 4)]
    history.released(NOW + 5, WRAP, second.row())
    history.alone.append(Alone("tsp-2", NOW + 5, LEASED.name, second.mark))
    history.disturbed.append(Disturbed("redis", NOW, NOW + 3))
    verdict = history.verdict()
    assert verdict.broken == {}
    assert (verdict.keys, verdict.alone) == (2, 1)
    history.released(NOW + 5.1, WRAP, third.row())  # in the same second, on the same proxy, but not this key
    assert history.broken() == {"I3": 1}


def test_i3_what_is_said_of_another_tenants_key_leaves_nothing_out(history: History) -> None:
    second = Key(LEASED)
    history.asked.append(second.asked(NOW + 4))
    history.released(NOW + 5, WRAP, second.row())
    history.alone.append(Alone("tsp-2", NOW + 5, DIRECT.name, second.mark))
    history.disturbed.append(Disturbed("redis", NOW, NOW + 3))
    assert history.broken() == {"I3": 1}


def test_i3_does_not_leave_out_a_key_when_nothing_was_done_to_redis_or_to_the_proxy(history: History) -> None:
    second = Key(LEASED)
    history.asked.append(second.asked(NOW + 4))
    history.released(NOW + 50, WRAP, second.row())
    history.disturbed += [Disturbed("redis", NOW, NOW + 3), Disturbed("tsp-1", NOW + 49, NOW + 51)]
    history.alone.append(Alone("tsp-2", NOW + 50, LEASED.name, second.mark))
    assert history.broken() == {"I3": 1}


# I4


def test_i4_a_key_that_left_without_its_event(history: History) -> None:
    history.released(NOW + 5, UNWRAP, history.row, event=False)
    assert history.broken() == {"I4": 1}


def test_i4_a_key_with_two_events(history: History) -> None:
    call = history.calls[1]
    history.events.append(history.events[1])
    assert history.broken() == {}  # the same one, delivered again
    history.events.append(history.event(call, history.row))
    assert history.broken() == {"I4": 2}  # more than left, and more than were asked for


def test_i4_an_event_of_a_request_that_nobody_made(history: History) -> None:
    history.events.append({**history.events[0], "id": "other", "request_id": "nobody's"})
    assert history.broken() == {"I4": 1}


# I5


def test_i5_a_key_service_that_was_asked_for_another_tenant(history: History) -> None:
    history.asked.append(history.key.asked(NOW + 4, tenant="direct"))
    assert history.broken() == {"I5": 1}


def test_i5_the_trial_of_a_configuration_must_not_open(history: History) -> None:
    history.asked.append(replace(history.key.asked(NOW + 4, tenant="leased-other"), fine=False))
    assert history.broken() == {}
    history.asked.append(history.key.asked(NOW + 4, tenant="leased-other"))
    assert history.broken() == {"I5": 1}


def test_i5_a_key_that_opened_as_another_tenants(history: History) -> None:
    opened = Call(
        "foreign", 8001, "another tenant's", DIRECT.name, NOW + 5, NOW + 6, 200, 0, 1, (), (history.row.edek,)
    )
    history.calls.append(opened)
    assert set(history.broken()) == {"I4", "I5"}  # such a key has no event that could be right, either


# I6


def test_i6_a_proxy_that_went_back_to_an_older_configuration(history: History) -> None:
    history.report(2)
    history.report(1, state="refused")
    assert history.broken() == {}
    history.report(1)
    assert history.broken() == {"I6": 1}


# I7


def test_i7_more_questions_at_the_same_time_than_there_are_processes(history: History) -> None:
    most = PROXIES + WORKERS
    history.asked += [history.key.asked(NOW + 50 + at / 100, took=1.0) for at in range(most)]
    history.asked.append(history.key.asked(NOW + 60))
    assert history.broken() == {}
    history.asked.append(history.key.asked(NOW + 50.5))
    assert history.broken() == {"I7": 1}


# I8


def test_i8_a_leased_key_that_is_still_in_a_memory(history: History) -> None:
    oracle = history.oracle()
    memory = os.urandom(500) + history.key.plain + os.urandom(500)
    oracle.memory({"tsp-1": Process(os.urandom(1_000)), "tsp-2": Process(memory)})
    assert list(oracle.verdict.broken) == ["I8"]
    assert oracle.verdict.broken["I8"] == ["tsp-2 still holds 1 copies of 1 leased keys"]


# its time


def test_twice_the_run_is_twice_the_work() -> None:
    """Counted in steps of the interpreter, so that the machine does not matter."""
    short, long = _steps(History(), 200), _steps(History(), 800)
    assert long < 6 * short


def _steps(history: History, rounds: int) -> int:
    for number in range(rounds):
        at = NOW + 10 + number
        history.asked += [history.key.asked(at), history.key.asked(at + 0.5, REFUSE if number % 7 == 0 else OK)]
        history.released(at, UNWRAP, history.row)
        history.direct(at, WRAP)
        history.shifts.append(Shift("tsp-2", at, 1.0))
        history.disturbed.append(Disturbed("tsp-3", at, at + 0.1))
    steps = 0

    def count(*_: object) -> Any:
        nonlocal steps
        steps += 1
        return count

    oracle_of = history.oracle
    sys.settrace(count)
    try:
        oracle_of().judge()
    finally:
        sys.settrace(None)
    return steps
