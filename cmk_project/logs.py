"""One JSON object a log line, made of an allow-list of fields: what is not named here is never printed."""

from __future__ import annotations

import json
import logging
import time
import traceback
from types import TracebackType
from typing import Any

from encrypted_fields.core.errors import CmkError

FIELDS = (
    "event", "vendor", "tenant", "config", "version", "kind", "action", "outcome", "code", "reason", "state",
    "request_id", "ray_id", "requesting_id", "status", "method", "path", "milliseconds", "attempt", "count", "sink",
    "task", "edek",
)  # fmt: skip
_MAX = 2_000


class AllowListFormatter(logging.Formatter):
    """Prints time, level, logger, message and the `extra` fields of FIELDS, if they are text, numbers or flags.

    Of an exception it prints the class and where it was raised. Its text only if it is ours (CmkError): an SDK's
    exception may repeat a credential or a value.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage()[:_MAX],
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if isinstance(value, str | int | float):
                line[name] = value[:_MAX] if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__qualname__
            if isinstance(record.exc_info[1], CmkError):
                line["error_text"] = str(record.exc_info[1])
            line["where"] = _frames(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def _frames(found: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(found)[-12:]]
