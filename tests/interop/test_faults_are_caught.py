"""Each fault that a proxy could have makes one of our interoperability tests fail: so they can."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ironcore_alloy import AlloyError

from encrypted_fields.core.protobuf import ProtobufError
from tests.interop import faulty
from tests.interop import test_alloy as alloy
from tests.interop import test_node as node
from tests.interop import test_twelve_rules as rules
from tests.interop.clients import NodeClient, RefusedError, saas_shield
from tests.interop.faulty import FaultyProxy
from tests.interop.test_twelve_rules import Caller
from tests.support.sandbox import Sandbox, sandbox


@pytest.fixture(scope="module")
def good() -> Iterator[Sandbox]:
    with sandbox("a", "b") as running:
        yield running


FAULTS: list[tuple[str, dict[str, Any], list[Callable[..., Any]]]] = [
    ("an event answered by an object", {"after": faulty.event_as_object}, [
        alloy.test_security_events_are_accepted_and_recorded,
        rules.test_rule_7_an_event_is_answered_by_the_four_bytes_null,
    ]),
    ("configuration 0", {"after": faulty.configuration_zero}, [
        alloy.test_metadata_with_nothing_but_the_tenant_is_enough,
        rules.test_rule_4_an_edek_is_one_encrypted_dek_with_a_configuration_number,
    ]),
    ("a wrong DEK", {"after": faulty.wrong_dek}, [
        alloy.test_metadata_with_nothing_but_the_tenant_is_enough,
        node.test_encrypts_with_an_existing_edek,
    ]),
    ("a DEK of 16 bytes", {"after": faulty.short_dek}, [
        alloy.test_metadata_with_nothing_but_the_tenant_is_enough,
        node.test_encrypts_with_an_existing_edek,
    ]),
    ("derivation ignores the path", {"after": faulty.derive_ignoring_the_path}, [
        alloy.test_deterministic_fields_round_trip_and_compare_equal,
        node.test_deterministic_fields_round_trip_and_compare_equal,
    ]),
    ("derivation at random", {"after": faulty.derive_at_random}, [
        alloy.test_deterministic_fields_round_trip_and_compare_equal,
        node.test_deterministic_fields_round_trip_and_compare_equal,
    ]),
    ("one secret for all types", {"before": faulty.one_secret_for_all_types}, [
        rules.test_rule_11_derived_keys_are_64_bytes_with_a_number_and_the_current_first,
    ]),
    ("an id of a batch dropped", {"after": faulty.dropped_id}, [
        alloy.test_batches_round_trip,
        node.test_batches_round_trip,
    ]),
    ("no failures in a batch", {"after": faulty.no_failures}, [
        alloy.test_batches_round_trip,
        node.test_batches_round_trip,
    ]),
    ("rekeying gives the same EDEK", {"after": faulty.rekey_to_itself}, [
        alloy.test_rekeys_to_the_same_and_to_another_tenant,
        node.test_rekeys_to_the_same_and_to_another_tenant,
    ]),
    ("any tenant accepted", {"before": faulty.any_tenant}, [
        alloy.test_an_unknown_tenant_is_201,
        alloy.test_another_tenants_edek_is_refused,
        node.test_an_unknown_tenant_is_201,
    ]),
    ("no authentication", {"open_door": True}, [
        alloy.test_a_wrong_key_is_101,
        node.test_a_wrong_key_is_101,
    ]),
    ("403 for 401", {"after": faulty.forbidden_for_unauthorized}, [
        alloy.test_a_wrong_key_is_101,
        node.test_a_wrong_key_is_101,
    ]),
    ("opaque EDEKs", {"after": faulty.opaque_edek()}, [
        alloy.test_metadata_with_nothing_but_the_tenant_is_enough,
        rules.test_rule_4_an_edek_is_one_encrypted_dek_with_a_configuration_number,
    ]),
    ("EDEKs looked up by their bytes", {"after": faulty.looked_up_by_bytes()}, [
        alloy.test_metadata_with_nothing_but_the_tenant_is_enough,
        rules.test_rule_5_an_edek_that_a_client_rewrote_still_opens,
    ]),
]  # fmt: skip
CASES = [
    pytest.param(options, test, id=f"{fault}: {test.__module__.rsplit('.', 1)[1]}")
    for fault, options, tests in FAULTS
    for test in tests
]


@pytest.mark.parametrize(("options", "test"), CASES)
async def test_a_fault_makes_a_test_fail(good: Sandbox, options: dict[str, Any], test: Callable[..., Any]) -> None:
    spoiled = FaultyProxy(good, **options)
    try:
        with pytest.raises((AssertionError, pytest.fail.Exception, RefusedError, AlloyError, ProtobufError)):
            await _run(test, spoiled)
    finally:
        spoiled.close()


TESTS = list(dict.fromkeys(test for _, _, tests in FAULTS for test in tests))


@pytest.mark.parametrize("test", TESTS, ids=lambda test: f"{test.__module__.rsplit('.', 1)[1]}.{test.__name__}")
async def test_the_same_test_passes_when_the_relay_changes_nothing(good: Sandbox, test: Callable[..., Any]) -> None:
    """So it is the fault that is caught, not the relay."""
    plain = FaultyProxy(good)
    try:
        await _run(test, plain)
    finally:
        plain.close()


async def _run(test: Callable[..., Any], spoiled: FaultyProxy) -> None:
    """Calls a test of the other modules with what it asks for, all of it led through `spoiled`."""
    client = NodeClient(spoiled.url, spoiled.api_key)
    caller = Caller(spoiled.url, spoiled.api_key)
    offered = {
        "proxy": spoiled,
        "node": client,
        "caller": caller,
        "standard": saas_shield(spoiled.url, spoiled.api_key).standard(),
    }
    try:
        done = test(**{name: offered[name] for name in inspect.signature(test).parameters})
        if inspect.isawaitable(done):
            await done
    finally:
        caller.session.close()
        client.close()
