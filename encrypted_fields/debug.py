"""Error pages and error mails without encrypted values.

    DEFAULT_EXCEPTION_REPORTER_FILTER = "encrypted_fields.debug.EncryptedReporterFilter"
    DEFAULT_EXCEPTION_REPORTER = "encrypted_fields.debug.EncryptedReporter"

Also with DEBUG on. `sensitive_variables` and `sensitive_post_parameters` work as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from types import FrameType
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from encrypted_fields.masking import MASK, encrypted_names, is_secret_name, masked, masked_text

_MOST = 100  # members of a collection that are looked at
_SHORT = 3  # characters: what is shorter is in every text
# code that handles one value of any field, under names that say nothing about it
_HANDLERS = (
    "encrypted_fields",
    "cryptography",
    "django.forms",
    "django.core.validators",
    "django.db.models.fields",
    "rest_framework.fields",
)


class EncryptedReporterFilter(SafeExceptionReporterFilter):
    """Variables and POST parameters that have the name of an encrypted field, rows, querysets of rows, and every text
    that holds a value which a row beside it has open."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_post_parameters(self, request: Any) -> Any:
        found = super().get_post_parameters(request)
        secret = [name for name in found if is_secret_name(name)]
        if secret:
            found = found.copy()
            for name in secret:
                found[name] = self.cleansed_substitute
        return found

    def get_traceback_frame_variables(self, request: Any, tb_frame: FrameType) -> Any:
        found = dict(super().get_traceback_frame_variables(request, tb_frame))
        module = str(tb_frame.f_globals.get("__name__", ""))
        if any(module == one or module.startswith(f"{one}.") for one in _HANDLERS):
            return dict.fromkeys(found, MASK).items()
        open_values = _open_values(list(tb_frame.f_locals.values()))
        return {
            name: MASK if is_secret_name(name) else _without(masked(value), open_values)
            for name, value in found.items()
        }.items()


class EncryptedReporter(ExceptionReporter):
    """Django's reporter; what exceptions say passes the same rule as a line of the log, and is told without the value
    that a ValidationError refuses."""

    def get_traceback_data(self) -> dict[str, Any]:
        data: dict[str, Any] = super().get_traceback_data()
        for name in ("exception_value", "exception_notes"):
            if data.get(name):
                data[name] = _said(data[name], self.exc_value)
        return data

    def get_traceback_frames(self) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = super().get_traceback_frames()
        for frame in frames:
            if frame.get("exc_cause"):
                frame["exc_cause"] = _said(frame["exc_cause"], frame["exc_cause"])
        return frames


def _said(text: Any, error: Any) -> str:
    said = masked_text(str(text))
    for one in getattr(error, "error_list", ()) if isinstance(error, ValidationError) else ():
        refused = str((one.params or {}).get("value", ""))
        said = said.replace(refused, MASK) if refused else said
    return said


def _open_values(found: Iterable[Any]) -> set[str]:
    """Texts of the values that rows among `found`, or in lists there, hold open."""
    values = set()
    for row in _rows(found, depth=3):
        for name in encrypted_names(type(row)):
            value = row.__dict__.get(name)
            if isinstance(value, str | int | float) or type(value).__module__ in ("datetime", "decimal", "uuid"):
                values.add(str(value))
    return {one for one in values if len(one) >= _SHORT}


def _rows(found: Iterable[Any], depth: int) -> Iterator[models.Model]:
    for one in islice(found, _MOST):
        if isinstance(one, models.Model):
            yield one
        elif depth and type(one) in (list, tuple, set, frozenset):
            yield from _rows(one, depth - 1)
        elif depth and type(one) is dict:
            yield from _rows(one.values(), depth - 1)


def _without(value: Any, open_values: set[str]) -> Any:
    try:
        shown = str(value) if open_values else ""
    except Exception:
        return value
    return MASK if any(one in shown for one in open_values) else value
