"""No encrypted value in logs, error pages and representations."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest
from django.http import QueryDict
from django.test import RequestFactory, override_settings
from django.views.debug import technical_500_response

from encrypted_fields import masking
from encrypted_fields.logs import RedactEncrypted
from encrypted_fields.testing import MemoryTsp, counted
from tests.encrypted_fields.people import person
from tests.sample_app.models import Clinic, Patient

pytestmark = pytest.mark.django_db
CANARY = "canary-7f3a"
DEBUG = {
    "DEFAULT_EXCEPTION_REPORTER_FILTER": "encrypted_fields.debug.EncryptedReporterFilter",
    "DEFAULT_EXCEPTION_REPORTER": "encrypted_fields.debug.EncryptedReporter",
}


@pytest.fixture
def log() -> Any:
    """A logger with our filter on its handler, and what it wrote."""
    logger, written = logging.Logger("adopter"), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(message)s %(extra_fact)s", defaults={"extra_fact": ""}))
    handler.addFilter(RedactEncrypted())
    logger.addHandler(handler)
    return logger, written


@pytest.mark.parametrize(
    ("message", "args", "shown"),
    [
        ("saved diagnosis=%s for user=7", (CANARY,), "saved diagnosis=********"),
        ('{"diagnosis": "%s", "id": 7}', (CANARY,), '{"diagnosis": ********, "id": 7}'),
        ("{'born': '1990-05-17', 'diagnosis': 'a \"%s\" b'}", (CANARY,), "{'born': ********, 'diagnosis': ********}"),
        ("Patient(DIAGNOSIS: %s, x=1)", (CANARY,), "Patient(DIAGNOSIS: ********, x=1)"),
        ("%s", ({"diagnosis": CANARY, "deep": [{"file_number": 77}]},), "{'diagnosis': ********, "),
        ("%(diagnosis)s of %(id)s", ({"diagnosis": CANARY, "id": 7},), "******** of 7"),
        ("prediagnosis=%s", ("kept",), "prediagnosis=kept"),
        ("diagnosis", (), "diagnosis"),
        ("%d rows", ("x",), "a message whose arguments do not fit it"),
    ],
)
def test_what_has_the_name_of_an_encrypted_field_becomes_stars(log: Any, message: str, args: Any, shown: str) -> None:
    logger, written = log
    logger.info(message, *args)
    assert written.getvalue().startswith(shown)
    assert CANARY not in written.getvalue()
    assert "77" not in written.getvalue()


def test_rows_and_querysets_are_named_not_shown(log: Any, cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where `__str__` shows a value: neither plaintext in the log nor a key asked for by logging."""
    monkeypatch.setattr(Patient, "__str__", lambda self: str(self.diagnosis))
    logger, written = log
    one = person(diagnosis=CANARY)
    with counted(cmk_tsp) as calls:
        logger.warning("saved %s and %s of %s", one, Patient.objects.all(), [Patient.objects.get(), Clinic(pk=3)])
        logger.warning("more", extra={"extra_fact": Patient.objects.get(), "diagnosis": CANARY})
    assert written.getvalue() == (
        f"saved <Patient {one.pk}> and <QuerySet of Patient> of ['<Patient {one.pk}>', <Clinic: Clinic object (3)>] \n"
        f"more <Patient {one.pk}>\n"
    )
    assert calls == []


def test_tracebacks_pass_the_same_rule(log: Any) -> None:
    logger, written = log
    try:
        raise ValueError(f"bad diagnosis: {CANARY}")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: bad diagnosis: ********" in written.getvalue()
    assert CANARY not in written.getvalue()


def test_further_names_come_from_a_setting(log: Any) -> None:
    logger, written = log
    with override_settings(CMK_REDACT=["IBAN"]):
        logger.info("iban=DE00")
    logger.info("iban=DE01")
    assert written.getvalue().split() == ["iban=********", "iban=DE01"]


@pytest.mark.parametrize("debug", [True, False])
def test_error_pages_show_no_encrypted_value(cmk_tsp: MemoryTsp, debug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by name, not inside a row, not as a bare text beside its row, not in forms' and the library's own frames."""
    monkeypatch.setattr(Patient, "__str__", lambda self: str(self.diagnosis))
    # other models have encrypted fields that are called "value", as variables of forms and fields are
    monkeypatch.setattr(masking, "secret_names", lambda: frozenset({"diagnosis", "born", "file_number"}))
    unopened, kept = person(diagnosis=CANARY).pk, list[Any]()

    def view(request: Any) -> None:
        patient = Patient.objects.get(pk=unopened)
        lazy = Patient.objects.get(pk=unopened)
        rows, query = [patient], Patient.objects.all()
        diagnosis = patient.diagnosis
        alias, sentence = diagnosis, f"told: {diagnosis}"
        kept.append((lazy, rows, query, alias, sentence))
        request.POST["missing"]

    def sealing() -> None:
        Patient._meta.get_field("born").clean(CANARY, None)

    def validating() -> None:
        Patient(born=CANARY).full_clean()

    request: Any = RequestFactory().post("/", {"diagnosis": CANARY, "form-0-diagnosis": CANARY, "ward": "ward 9"})
    for fails in (lambda: view(request), sealing, validating):
        with override_settings(DEBUG=debug, **DEBUG), counted(cmk_tsp) as calls:
            try:
                fails()
            except Exception:
                page = technical_500_response(request, *sys.exc_info()).content.decode()
        assert CANARY not in page
        assert len([call for call in calls if call.route == "unwrap"]) == (0 if fails in (sealing, validating) else 1)
        assert "ward 9" in page or fails in (sealing, validating)  # what is not encrypted is there


def test_posts_are_left_as_they_are_for_the_view(cmk_tsp: MemoryTsp) -> None:
    from encrypted_fields.debug import EncryptedReporterFilter

    request: Any = RequestFactory().post("/", {"diagnosis": CANARY})
    shown = EncryptedReporterFilter().get_post_parameters(request)
    assert shown["diagnosis"] == "********************"
    assert QueryDict(f"diagnosis={CANARY}") == request.POST
    assert EncryptedReporterFilter().get_post_parameters(None) == {}


def test_a_masked_repr_names_the_row() -> None:
    class Hidden(masking.MaskedRepr, Patient):
        class Meta:
            proxy = True
            app_label = "sample_app"

    one = Hidden(diagnosis=CANARY)
    assert repr(one) == f"<Hidden {one.pk}>"
