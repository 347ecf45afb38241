"""A provider's options: one dataclass is the portal's form, the proxy's validation and the redaction at once."""

from __future__ import annotations

import dataclasses
import datetime
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

MAX_TEXT = 16_384
_CONFIG = TypeVar("_CONFIG")
_NO_DEFAULT: Any = dataclasses.MISSING


class OptionError(ValueError):
    """An option is missing, unknown or of the wrong kind. The message names the option, never its value."""


def option(
    label: str,
    *,
    help: str = "",
    secret: bool = False,
    multiline: bool = False,
    choices: Sequence[tuple[str, str]] = (),
    placeholder: str = "",
    ends: Literal["", "date", "pem"] = "",
    default: Any = _NO_DEFAULT,
) -> Any:
    """A dataclass field of a provider's Config. A `secret` never prints and is a password input in the portal.

    `ends`: the option says until when the configuration works. "date" is a day as 2027-01-31, "pem" has certificates.
    """
    shown = {
        "label": label,
        "help": help,
        "secret": secret,
        "multiline": multiline,
        "choices": tuple(choices),
        "placeholder": placeholder,
        "ends": ends,
    }
    return dataclasses.field(default=default, repr=not secret, metadata=shown)


def describe(config: type[Any]) -> list[dict[str, Any]]:
    """A provider's form as JSON: name, type (text, number or flag), required, default and what `option` was given."""
    types = typing.get_type_hints(config)
    return [
        {
            "name": item.name,
            "type": _KINDS[types[item.name]],
            "required": item.default is dataclasses.MISSING,
            "default": None if item.default is dataclasses.MISSING else item.default,
            **{name: list(map(list, value)) if name == "choices" else value for name, value in item.metadata.items()},
        }
        for item in dataclasses.fields(config)
    ]


def load(config: type[_CONFIG], values: Mapping[str, Any]) -> _CONFIG:
    """A `config` made of `values`, strictly: OptionError for a missing, unknown, mistyped or overlong one."""
    types = typing.get_type_hints(config)
    known = {item.name: item for item in dataclasses.fields(config)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise OptionError("an unknown option is set: the names are " + ", ".join(known))
    checked = {}
    for name, item in known.items():
        if name not in values:
            if item.default is dataclasses.MISSING:
                raise OptionError(f"option '{name}' is missing")
            continue
        value = values[name]
        if type(value) is not types[name]:
            raise OptionError(f"option '{name}' must be a {_KINDS[types[name]]}")
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise OptionError(f"option '{name}' is longer than {MAX_TEXT} characters")
            if not value and item.default is dataclasses.MISSING:
                raise OptionError(f"option '{name}' is empty")
        if item.metadata.get("ends") == "date" and value and not _is_day(value):
            raise OptionError(f"option '{name}' must be a day as 2027-01-31")
        choices = item.metadata.get("choices", ())
        if choices and value not in [key for key, _ in choices]:
            raise OptionError(f"option '{name}' must be one of " + ", ".join(key for key, _ in choices))
        checked[name] = value
    return config(**checked)


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_KINDS: dict[type, str] = {str: "text", int: "number", bool: "flag"}
