"""The project's own policy: by label, person, reason and time; refusals are typed and in the customer's trail."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db.transaction import atomic
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from encrypted_fields import AccessRefused, Locked, acting, ciphertext_for
from encrypted_fields.checks import check_policy
from encrypted_fields.core.errors import TspUnreachable
from encrypted_fields.middleware import CmkMiddleware
from encrypted_fields.policy import Ask
from encrypted_fields.policy_table import compiled
from encrypted_fields.testing import MemoryTsp, stored_bytes
from tests.encrypted_fields.people import people, person
from tests.sample_app.models import Patient, Scan

pytestmark = pytest.mark.django_db
TREATMENT = [
    {"allow": "treatment", "label": "sample_app.*", "reason": ["treatment", "emergency *"]},
    {"allow": "writing", "action": "encrypt"},
    {"refuse": "needs a reason", "label": "sample_app.patient"},
]


def only_by_doctors(ask: Ask) -> str | None:
    return None if ask.action == "encrypt" or ask.requesting_id.startswith("dr-") else f"not for {ask.requesting_id}"


def answers_true(ask: Ask) -> Any:
    return True


@override_settings(CMK_POLICY_TABLE=TREATMENT)
def test_a_refused_look_raises_and_is_told_to_the_customer(cmk_tsp: MemoryTsp) -> None:
    one = person()
    row = Patient.objects.get()
    with acting("support-1", source_ip="10.0.0.9", request_id="r7"), pytest.raises(AccessRefused) as caught:
        row.diagnosis  # noqa: B018
    assert isinstance(caught.value, PermissionDenied)
    assert str(caught.value) == "refused by the policy: needs a reason"
    assert (caught.value.rule, caught.value.ask.requesting_id) == ("needs a reason", "support-1")
    assert [call.route for call in cmk_tsp.calls] == ["wrap", "security_event"]  # no key was asked for
    (told,) = cmk_tsp.events
    assert (told.event, told.about.tenant, told.about.requesting_id) == ("DATA_DENY_ACCESS", "north", "support-1")
    assert (told.about.data_label, told.about.source_ip) == ("sample_app.patient", "10.0.0.9")
    assert told.about.custom == {"action": "decrypt", "policy": "needs a reason"}
    with acting("support-1", reason="emergency 112"):
        assert row.diagnosis == "flu"
    assert cmk_tsp.calls[-1].about.custom == {"reason": "emergency 112", "policy": "treatment"}  # also audited
    assert stored_bytes(one, "diagnosis")


@override_settings(CMK_POLICY_TABLE=TREATMENT)
def test_saving_a_refused_row_keeps_its_bytes(cmk_tsp: MemoryTsp) -> None:
    before = stored_bytes(person(), "diagnosis")
    row = Patient.objects.get()
    row.name = "Bea"
    row.save()
    assert stored_bytes(row, "diagnosis") == before


@override_settings(CMK_POLICY=f"{__name__}.only_by_doctors")
def test_a_function_decides_about_rows_and_pages(cmk_tsp: MemoryTsp) -> None:
    people(3)
    with pytest.raises(AccessRefused, match="not for tests"):
        list(Patient.objects.values("diagnosis"))
    with acting("dr-7"):
        assert len([row.diagnosis for row in Patient.objects.all()]) == 3


@override_settings(CMK_POLICY_TABLE=[{"refuse": "read only", "action": "encrypt"}])
def test_sealing_can_be_refused_and_writes_nothing(cmk_tsp: MemoryTsp) -> None:
    for write in (
        person,
        lambda: people(2),
        lambda: Scan(tenant_id="north").image.save("a.txt", io.BytesIO(b"x")),
    ):
        with pytest.raises(AccessRefused), atomic():
            write()
    assert Patient.objects.count() == 0
    assert {call.route for call in cmk_tsp.calls} == {"security_event"}


@override_settings(CMK_POLICY=lambda ask: "never")
def test_a_refusal_that_cannot_be_told_is_a_refusal_and_is_logged(
    cmk_tsp: MemoryTsp, caplog: pytest.LogCaptureFixture
) -> None:
    cmk_tsp.failing = TspUnreachable()
    with caplog.at_level(logging.ERROR), pytest.raises(AccessRefused):
        person()
    assert "missing in the trail of tenant north" in caplog.text


def test_an_answer_that_is_no_answer_opens_nothing(cmk_tsp: MemoryTsp) -> None:
    """`return True` could mean either: it is refused as a mistake, and an error in the function is one too."""
    person()
    for policy, error in ((f"{__name__}.answers_true", TypeError), (lambda ask: 1 / 0, ZeroDivisionError)):
        with override_settings(CMK_POLICY=policy), pytest.raises(error):
            Patient.objects.get().diagnosis  # noqa: B018
    assert len(cmk_tsp.calls) == 1


def test_the_customers_no_is_locked_and_the_projects_no_is_not(cmk_tsp: MemoryTsp) -> None:
    person()
    cmk_tsp.revoke("north")
    assert isinstance(Patient.objects.get().diagnosis, Locked)
    with override_settings(CMK_POLICY=lambda ask: "never"), pytest.raises(AccessRefused):
        Patient.objects.get().diagnosis  # noqa: B018


NIGHT = [{"refuse": "nights", "hours": "20:00-06:00"}, {"refuse": "weekend", "days": ["sat", "sun"]}]


@override_settings(CMK_POLICY_TABLE=NIGHT, CMK_POLICY_ZONE="Europe/Berlin")
@pytest.mark.parametrize(
    ("moment", "rule"),
    [
        (datetime(2026, 7, 1, 17, 59, tzinfo=UTC), None),
        (datetime(2026, 7, 1, 18, 0, tzinfo=UTC), "nights"),  # 20:00 in Berlin
        (datetime(2026, 7, 2, 3, 59, tzinfo=UTC), "nights"),
        (datetime(2026, 7, 2, 4, 0, tzinfo=UTC), None),
        (datetime(2026, 7, 4, 10, 0, tzinfo=UTC), "weekend"),
        (datetime(2026, 7, 5, 21, 59, tzinfo=UTC), "nights"),
        (datetime(2026, 7, 6, 5, 0, tzinfo=UTC), None),
    ],
)
def test_hours_and_days_are_those_of_the_zone(cmk_tsp: MemoryTsp, moment: datetime, rule: str | None) -> None:
    with time_machine.travel(moment, tick=False):
        if rule is None:
            assert person().diagnosis == "flu"
        else:
            with pytest.raises(AccessRefused, match=rule):
                person()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"refuse": "x", "labels": "a"}, "unknown member 'labels'"),
        ({"refuse": "x", "allow": "y"}, "needs one of"),
        ({"label": "a"}, "needs one of"),
        ({"refuse": ""}, "needs one of"),
        ({"refuse": "x", "action": "read"}, "'read' in 'action'"),
        ({"refuse": "x", "days": ["mo"]}, "'mo' in 'days'"),
        ({"refuse": "x", "hours": "8-18"}, "not like"),
        ({"refuse": "x", "hours": "24:00-06:00"}, "not like"),
        ({"refuse": "x", "hours": "06:00-06:00"}, "start where they end"),
        ({"refuse": "x", "user": 7}, "neither a text"),
        ({"refuse": "x", "user": []}, "neither a text"),
        ("refuse", "is not a dict"),
    ],
)
def test_a_rule_that_is_misspelt_is_no_rule_that_never_matches(row: Any, problem: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=problem) as caught:
        compiled([{"allow": "fine"}, row])
    assert "row 2 of CMK_POLICY_TABLE" in str(caught.value)


def test_patterns_match_whole_texts_and_absence_is_the_empty_one(cmk_tsp: MemoryTsp) -> None:
    table = [{"allow": "named", "user": "u?", "ip": ["10.*", ""]}, {"refuse": "others"}]
    with override_settings(CMK_POLICY_TABLE=table):
        for who, address, allowed in (("u1", None, True), ("u1", "10.0.0.1", True), ("u1", "9.1.1.1", False)):
            with acting(who, source_ip=address):
                if allowed:
                    person()
                else:
                    with pytest.raises(AccessRefused):
                        person()
        with acting("u11"), pytest.raises(AccessRefused):
            person()


@override_settings(CMK_REASON_FROM_REQUEST=lambda request: request.headers.get("X-Reason"), CMK_POLICY_TABLE=TREATMENT)
def test_the_middleware_brings_the_reason(cmk_tsp: MemoryTsp) -> None:
    person()

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(Patient.objects.get().diagnosis))

    call: Any = CmkMiddleware(view)
    assert call(RequestFactory().get("/", headers={"X-Reason": "treatment"})).content == b"flu"
    with pytest.raises(AccessRefused):
        call(RequestFactory().get("/"))


def test_a_reason_has_a_bound() -> None:
    with pytest.raises(ValueError, match="200 characters"), acting(reason="x" * 201):
        pass


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"CMK_POLICY": "no.such.module"}, "E060"),
        ({"CMK_POLICY": "encrypted_fields.policy.__name__"}, "E060"),
        ({"CMK_POLICY_TABLE": [{"refuse": "x", "labels": "a"}]}, "E060"),
        ({"CMK_REUSE_KEYS": {"seconds": 90, "uses": 1}}, "E061"),
        ({"CMK_REUSE_KEYS": {"second": 1}}, "E061"),
        ({"CMK_REUSE_KEYS": 30}, "E061"),
        ({"CMK_POLICY_TABLE": NIGHT, "CMK_REUSE_KEYS": {"seconds": 30, "uses": 5}}, None),
    ],
)
def test_settings_that_would_stop_a_look_stop_the_deployment(wrong: dict[str, Any], code: str | None) -> None:
    with override_settings(**wrong):
        found = [one.id for one in check_policy()]
    assert found == ([] if code is None else [f"encrypted_fields.{code}"])


WITHOUT_VALUES = [
    {"refuse": "shells see no values", "user": "shell-*"},
    {"refuse": "the import only writes", "user": "import", "action": ["decrypt", "search"]},
]


@override_settings(CMK_POLICY_TABLE=WITHOUT_VALUES)
def test_a_shell_without_values_and_a_service_that_only_writes(cmk_tsp: MemoryTsp) -> None:
    """Ideas 12 and 16 (field-peers), as docs/policy.md says."""
    one = person(diagnosis="flu")
    row = Patient.objects.get()
    with acting("shell-ann"):
        for use in (lambda: row.diagnosis, lambda: person(diagnosis="x")):
            with pytest.raises(AccessRefused), atomic():
                use()
        assert ciphertext_for(row, "diagnosis") == stored_bytes(one, "diagnosis")
        Patient.objects.update(name="renamed")  # what is in clear goes on
    with acting("import"):
        person(diagnosis="new")
        with pytest.raises(AccessRefused):
            Patient.objects.filter(pk=one.pk).get().diagnosis  # noqa: B018
    assert row.diagnosis == "flu"
