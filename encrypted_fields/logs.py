"""A logging filter that lets no value of an encrypted field pass.

    LOGGING = {
        "filters": {"encrypted": {"()": "encrypted_fields.logs.RedactEncrypted"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["encrypted"]}},
    }

Put it on handlers: what other libraries log passes these, but not the filters of your loggers.
"""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps

from encrypted_fields.masking import MASK, is_secret_name, masked, masked_text

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class RedactEncrypted(logging.Filter):
    """Rows become `<Model key>`, members that have the name of an encrypted field become stars: in the message, its
    arguments, `extra`, and the traceback. It goes by names and types: a bare value in the middle of a sentence it
    cannot know."""

    def filter(self, record: logging.LogRecord) -> bool:
        if apps.models_ready:
            self._redact(record)
        return True

    def _redact(self, record: logging.LogRecord) -> None:
        args: Any = record.args
        record.args = masked(args) if isinstance(args, dict) else tuple(masked(one) for one in args or ())
        try:
            said = record.getMessage()
        except Exception:  # the handler would print message and arguments as they are
            said = "a message whose arguments do not fit it"
        record.msg, record.args = masked_text(said), ()
        for name in vars(record).keys() - _OWN:
            value = vars(record)[name]
            new = MASK if is_secret_name(name) else masked(value)
            vars(record)[name] = masked_text(new) if isinstance(new, str) else new
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = masked_text(record.exc_text)
