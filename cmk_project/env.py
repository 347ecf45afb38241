"""Reading the environment strictly: a wrong or missing setting stops the start with its name and the fix."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_MAX_SECRET = 65_536


class SettingError(ImproperlyConfigured):
    """A setting of the environment is missing or wrong. Names the variable and the fix, never a secret's value."""


def text(name: str, default: str | None = None, *, choices: Sequence[str] = ()) -> str:
    """The variable `name`; `default` when it is not set or empty; without a default it must be set."""
    value = os.environ.get(name, "").strip()
    if not value:
        if default is None:
            raise SettingError(f"{name} is not set: set it in the environment of this process")
        return default
    if choices and value not in choices:
        raise SettingError(f"{name} must be one of {', '.join(choices)}")
    return value


def flag(name: str, default: bool) -> bool:
    """Exactly `true` or `false`: "1", "yes" and "True" are refused, since a typing error must not open a door."""
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    if value not in ("true", "false"):
        raise SettingError(f"{name} must be exactly true or false")
    return value == "true"


def number(name: str, default: int, *, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdigit()) or not least <= int(value) <= most:
        raise SettingError(f"{name} must be a whole number from {least} to {most}")
    return int(value)


def secret(name: str, default: str | None = None) -> str:
    """The variable `name`, or the content of the file that `name`_FILE names (one trailing newline is dropped).

    Both at once, a file that cannot be read and an empty file are errors: a secret that is quietly missing is worse
    than no start.
    """
    value, path = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if value and path:
        raise SettingError(f"{name} and {name}_FILE are both set: set only one of them")
    if path:
        return _from_file(name, Path(path))
    if value:
        return value
    if default is None:
        raise SettingError(f"{name} is not set: set it, or set {name}_FILE to the path of a file that holds it")
    return default


def items(name: str, default: Sequence[str] = ()) -> list[str]:
    """A comma separated list; empty parts are dropped."""
    found = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
    return found or list(default)


def networks(name: str) -> list[str]:
    """A comma separated list of CIDR networks, such as `127.0.0.0/8,10.1.0.0/16`."""
    found = items(name)
    for part in found:
        try:
            ipaddress.ip_network(part)
        except ValueError:
            raise SettingError(f"{name} must be networks like 10.1.0.0/16, separated by commas") from None
    return found


def url(name: str, default: str | None = None, *, schemes: Sequence[str] = ("http", "https")) -> str:
    """An address with a host and one of `schemes`; a trailing slash is dropped. An empty default passes."""
    value = secret(name, default)
    if not value:
        return ""
    parts = urlsplit(value)
    if parts.scheme not in schemes or not parts.hostname:
        raise SettingError(f"{name} must be an address that starts with {' or '.join(one + '://' for one in schemes)}")
    return value.rstrip("/")


def database(name: str, default: str, *, base: Path) -> dict[str, Any]:
    """Django's database settings from `sqlite:///path` (relative to `base`) or `postgresql://user:password@host:port/name`."""
    value = secret(name, default)
    wrong = f"{name} must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"
    parts = urlsplit(value)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        path = unquote(parts.path[1:])
        # IMMEDIATE: two writers queue up for `timeout` seconds instead of failing at once when they upgrade a read lock
        options = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
        where = path if path == ":memory:" else str(base / path)
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": where, "OPTIONS": {} if path == ":memory:" else options}
    if parts.scheme not in ("postgresql", "postgres") or len(parts.path) < 2:
        raise SettingError(wrong)
    try:
        port = parts.port
    except ValueError:
        raise SettingError(wrong) from None
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": port or "",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": dict(parse_qsl(parts.query)),
    }


def _from_file(name: str, path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingError(f"{name}_FILE names a file that cannot be read ({error.strerror}): {path}") from None
    if len(data) > _MAX_SECRET:
        raise SettingError(f"{name}_FILE names a file of more than {_MAX_SECRET} bytes: {path}")
    try:
        value = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SettingError(f"{name}_FILE names a file that is not UTF-8 text: {path}") from None
    if not value:
        raise SettingError(f"{name}_FILE names an empty file: {path}")
    return value
