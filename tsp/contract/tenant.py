"""The document inside a sealed configuration: its binding and its body. docs/formats.md section 5."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

Kind = Literal["kms", "siem"]
FORMAT = 1
MAX_CONFIG = 2**31 - 1
RENEW_SECONDS = 300
HOLD_SECONDS = 3600
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_HASH = re.compile(r"(?:[0-9a-f]{64})?")
_KEY_ID = re.compile(r"[0-9a-f]{32}")


class DocumentError(ValueError):
    """The document is not one that we read. Names the member at fault, never a value."""


def is_name(text: object) -> bool:
    """Whether `text` may name a vendor or a tenant: 1–64 of A–Z a–z 0–9 . _ -, compared byte by byte, never folded."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed configuration is bound to; the proxy compares every member before it looks at the body.

    `previous` is the record hash (hex SHA-256) of the version before, "" for the first; `tsp_key` the id of the proxy
    key that this copy is sealed to; `created` ISO 8601 UTC.
    """

    vendor: str
    tenant: str
    config: int
    kind: Kind
    version: int
    previous: str
    created: str
    tsp_key: str


@dataclass(frozen=True, slots=True)
class Leasing:
    """A tenant's lease policy in seconds: it may be shorter than the defaults, never longer. `hold` 0: no grace."""

    enabled: bool = False
    renew: int = RENEW_SECONDS
    hold: int = HOLD_SECONDS


@dataclass(frozen=True, slots=True)
class KmsBody:
    """One key in the tenant's key service. Secrets are in `options`, which does not print."""

    provider: str
    options: dict[str, Any] = field(repr=False)
    primary: bool = True
    leasing: Leasing = Leasing()


@dataclass(frozen=True, slots=True)
class SiemBody:
    """Where a tenant's events go, and what if they cannot be kept: refuse the key, or count what was dropped."""

    provider: str
    options: dict[str, Any] = field(repr=False)
    when_full: Literal["refuse", "count"] = "refuse"


@dataclass(frozen=True, slots=True)
class Document:
    binding: Binding
    body: KmsBody | SiemBody


def dump(document: Document) -> bytes:
    """UTF-8 JSON with sorted members and no spaces: what gets sealed."""
    binding, body = document.binding, document.body
    members: dict[str, Any] = {"provider": body.provider, "options": body.options}
    if isinstance(body, KmsBody):
        leasing = body.leasing
        members["primary"] = body.primary
        members["leasing"] = {"enabled": leasing.enabled, "renew": leasing.renew, "hold": leasing.hold}
    else:
        members["when_full"] = body.when_full
    bound = {name: getattr(binding, name) for name in Binding.__dataclass_fields__}
    whole = {"format": FORMAT, **bound, "body": members}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def load(data: bytes) -> Document:
    """DocumentError for unknown formats, missing, extra, repeated or mistyped members."""
    try:
        # decoded here: given bytes, json also takes UTF-16 and UTF-32
        whole = json.loads(
            data.decode(), object_pairs_hook=_once, parse_float=_no_fraction, parse_constant=_no_fraction
        )
        json.dumps(whole, ensure_ascii=False).encode()  # a lone surrogate is no text
    except DocumentError:
        raise
    except (ValueError, RecursionError):
        raise DocumentError("the document is not JSON in UTF-8") from None
    if not isinstance(whole, dict) or not _number(whole.get("format"), FORMAT, FORMAT):
        raise DocumentError("the document's format is unknown")
    names = set(Binding.__dataclass_fields__)
    _members(whole, names | {"format", "body"})
    binding = Binding(**{name: whole[name] for name in names})
    _check_binding(binding)
    body = whole["body"]
    if not isinstance(body, dict):
        raise DocumentError("'body' must be an object")
    return Document(binding, _kms(body) if binding.kind == "kms" else _siem(body))


def _check_binding(binding: Binding) -> None:
    checks = {
        "vendor": is_name(binding.vendor),
        "tenant": is_name(binding.tenant),
        "config": _number(binding.config, 1, MAX_CONFIG),
        "kind": binding.kind in get_args(Kind),
        "version": _number(binding.version, 1, MAX_CONFIG),
        "previous": isinstance(binding.previous, str) and _HASH.fullmatch(binding.previous) is not None,
        "created": _time(binding.created),
        "tsp_key": isinstance(binding.tsp_key, str) and _KEY_ID.fullmatch(binding.tsp_key) is not None,
    }
    for name, fine in checks.items():
        if not fine:
            raise DocumentError(f"'{name}' is not valid")
    if (binding.version == 1) is not (binding.previous == ""):
        raise DocumentError("'previous' must be empty in version 1 and only there")


def _kms(body: dict[str, Any]) -> KmsBody:
    _members(body, {"provider", "options", "primary", "leasing"})
    leasing = body["leasing"]
    if not isinstance(leasing, dict):
        raise DocumentError("'leasing' must be an object")
    _members(leasing, {"enabled", "renew", "hold"})
    if type(leasing["enabled"]) is not bool or type(body["primary"]) is not bool:
        raise DocumentError("'enabled' and 'primary' must be true or false")
    if not _number(leasing["renew"], 30, RENEW_SECONDS) or not _number(leasing["hold"], 0, HOLD_SECONDS):
        raise DocumentError("'renew' is 30 to 300 seconds and 'hold' 0 to 3600")
    provider, options = _provider(body)
    return KmsBody(provider, options, body["primary"], Leasing(**leasing))


def _siem(body: dict[str, Any]) -> SiemBody:
    _members(body, {"provider", "options", "when_full"})
    if body["when_full"] not in ("refuse", "count"):
        raise DocumentError("'when_full' must be refuse or count")
    provider, options = _provider(body)
    return SiemBody(provider, options, body["when_full"])


def _provider(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    provider, options = body["provider"], body["options"]
    if not isinstance(provider, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", provider):
        raise DocumentError("'provider' is not valid")
    if not isinstance(options, dict):
        raise DocumentError("'options' must be an object")
    return provider, options


def _members(found: dict[str, Any], names: set[str]) -> None:
    if set(found) != names:
        raise DocumentError("the members must be exactly " + ", ".join(sorted(names)))


def _number(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _time(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value) <= 40 and datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except ValueError:
        return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DocumentError("a member is repeated")
    return found


def _no_fraction(_: str) -> Any:
    # 1e999 would load as Infinity, and 1.0 is written differently by every language
    raise DocumentError("numbers are whole here")
