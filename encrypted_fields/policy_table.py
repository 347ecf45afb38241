"""The declarative policy: rows of conditions, read once. The first row that matches decides; none: permitted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time
from fnmatch import translate
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from encrypted_fields.policy import Ask

ACTIONS = ("encrypt", "decrypt", "search", "reveal")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PATTERNS = {"label": "label", "user": "requesting_id", "reason": "reason", "tenant": "tenant", "ip": "source_ip"}
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Row:
    """One row. Conditions that it does not name match everything."""

    name: str
    refuses: bool
    actions: frozenset[str]
    patterns: tuple[tuple[str, tuple[re.Pattern[str], ...]], ...]
    days: frozenset[int]
    hours: tuple[time, time] | None

    def matches(self, ask: Ask, at: datetime) -> bool:
        if ask.action not in self.actions or at.weekday() not in self.days:
            return False
        if self.hours is not None:
            start, end = self.hours
            now = at.time()
            inside = start <= now < end if start < end else now >= start or now < end
            if not inside:
                return False
        return all(
            any(pattern.match(getattr(ask, name) or "") for pattern in patterns) for name, patterns in self.patterns
        )


def compiled(rows: Iterable[Any]) -> tuple[Row, ...]:
    """ImproperlyConfigured, naming the row and the member, for anything that is not understood: a rule that is
    misspelt must not be a rule that never matches."""
    return tuple(_row(number, row) for number, row in enumerate(rows, 1))


def _row(number: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise _wrong(number, "is not a dict")
    known = {"refuse", "allow", "action", "days", "hours", *_PATTERNS}
    strange = sorted(map(str, row.keys() - known))
    if strange:
        raise _wrong(number, f"has the unknown member {strange[0]!r}")
    verdicts = [name for name in ("refuse", "allow") if name in row]
    if len(verdicts) != 1 or not isinstance(row[verdicts[0]], str) or not row[verdicts[0]]:
        raise _wrong(number, "needs one of 'refuse' and 'allow', with the rule's name")
    return Row(
        name=row[verdicts[0]],
        refuses=verdicts[0] == "refuse",
        actions=frozenset(_among(number, "action", row.get("action", ACTIONS), ACTIONS)),
        patterns=tuple(
            (attribute, tuple(re.compile(translate(text)) for text in _texts(number, name, row[name])))
            for name, attribute in _PATTERNS.items()
            if name in row
        ),
        days=frozenset(map(DAYS.index, _among(number, "days", row.get("days", DAYS), DAYS))),
        hours=_hours(number, row["hours"]) if "hours" in row else None,
    )


def _hours(number: int, text: Any) -> tuple[time, time]:
    found = _HOURS.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise _wrong(number, "has 'hours' that are not like '20:00-06:00'")
    start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    if start == end:
        raise _wrong(number, "has 'hours' that start where they end")
    return start, end


def _among(number: int, name: str, value: Any, allowed: tuple[str, ...]) -> list[str]:
    found = _texts(number, name, value)
    strange = [one for one in found if one not in allowed]
    if strange:
        raise _wrong(number, f"has {strange[0]!r} in {name!r}, which is none of {', '.join(allowed)}")
    return found


def _texts(number: int, name: str, value: Any) -> list[str]:
    found = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else []
    if not found or not all(isinstance(one, str) for one in found):
        raise _wrong(number, f"has a {name!r} that is neither a text nor a list of texts")
    return found


def _wrong(number: int, what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"row {number} of CMK_POLICY_TABLE {what}")
