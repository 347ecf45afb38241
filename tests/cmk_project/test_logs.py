"""A log line holds the fields of the allow-list and nothing else."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from cmk_project.logs import AllowListFormatter
from encrypted_fields.core.errors import KmsRefused


def _line(record: logging.LogRecord) -> dict[str, Any]:
    line = AllowListFormatter().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def _record(message: str, *args: object, error: Exception | None = None, **extra: object) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise error
        except Exception:
            info = sys.exc_info()
    record = logging.LogRecord("tsp.app", logging.WARNING, __file__, 1, message, args, info)
    record.__dict__.update(extra)
    return record


def test_only_fields_of_the_allow_list_are_printed() -> None:
    found = _line(_record("refused %s", "twice", tenant="north", code=206, api_key="secret", headers={"a": "b"}))
    assert found["message"] == "refused twice"
    assert (found["tenant"], found["code"], found["level"]) == ("north", 206, "WARNING")
    assert not {"api_key", "headers", "args"} & set(found)


def test_an_allowed_field_of_another_type_is_left_out() -> None:
    assert "tenant" not in _line(_record("x", tenant={"name": "north"}))


def test_a_foreign_exception_shows_its_class_and_place_but_not_its_text() -> None:
    found = _line(_record("failed", error=ValueError("password=hunter2")))
    assert found["error"] == "ValueError"
    assert "test_logs.py" in found["where"][-1]
    assert "hunter2" not in json.dumps(found)


def test_our_own_errors_say_what_happened() -> None:
    assert _line(_record("failed", error=KmsRefused()))["error_text"] == KmsRefused.default


def test_a_log_line_is_capped_and_cannot_be_split() -> None:
    assert len(_line(_record("a\nb" * 10_000))["message"]) == 2_000
