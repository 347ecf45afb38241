"""The library's settings: read once, read again when a test overrides one."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

BATCH = 1000  # keys in one call, rows in one block
# all that this library reads: a name that nearly is one of these is misspelt (W015)
SETTINGS = frozenset(
    {
        "CMK_CELERY",
        "CMK_INDEX_KEY_SECONDS",
        "CMK_INDEX_KEY_TENANTS",
        "CMK_LIBSODIUM",
        "CMK_PLAINTEXT_FIXTURES",
        "CMK_POLICY",
        "CMK_POLICY_TABLE",
        "CMK_POLICY_ZONE",
        "CMK_REASON_FROM_REQUEST",
        "CMK_REDACT",
        "CMK_REQUESTING_ID",
        "CMK_REQUESTING_ID_FROM_REQUEST",
        "CMK_REUSE_KEYS",
        "CMK_TENANT_FROM",
        "CMK_TENANT_FROM_REQUEST",
        "CMK_TSP_ALLOW_HTTP",
        "CMK_TSP_API_KEY",
        "CMK_TSP_CA_FILE",
        "CMK_TSP_CONNECT_SECONDS",
        "CMK_TSP_SECONDS",
        "CMK_TSP_URL",
    }
)


@dataclass(frozen=True, slots=True)
class Conf:
    """CMK_TSP_URL and CMK_TSP_API_KEY are needed to seal or open; everything else has a default."""

    tsp_url: str
    api_key: str = field(repr=False)
    ca_file: str | None = None
    allow_http: bool = False
    connect_seconds: float = 2.0
    total_seconds: float = 5.0


@lru_cache(maxsize=1)
def conf() -> Conf:
    """ImproperlyConfigured, naming the setting, when the proxy's address or key is missing or unusable."""
    url, key = _text("CMK_TSP_URL"), _text("CMK_TSP_API_KEY")
    found = Conf(
        tsp_url=url,
        api_key=key,
        ca_file=getattr(settings, "CMK_TSP_CA_FILE", None),
        allow_http=getattr(settings, "CMK_TSP_ALLOW_HTTP", False),
        connect_seconds=float(getattr(settings, "CMK_TSP_CONNECT_SECONDS", 2.0)),
        total_seconds=float(getattr(settings, "CMK_TSP_SECONDS", 5.0)),
    )
    wrong = url_problem(found.tsp_url, allow_http=found.allow_http)
    if wrong:
        raise ImproperlyConfigured(wrong)
    return found


def default_tenant_from() -> str | Callable[..., Any] | None:
    """CMK_TENANT_FROM: for models and fields that do not say where their tenant is."""
    found: str | Callable[..., Any] | None = getattr(settings, "CMK_TENANT_FROM", None)
    return found


@lru_cache(maxsize=1)
def requesting_id() -> str:
    """CMK_REQUESTING_ID: this service's name in the tenant's audit trail. Needs no proxy."""
    return str(getattr(settings, "CMK_REQUESTING_ID", "django"))


def url_problem(url: str, *, allow_http: bool) -> str | None:
    """Why this address of the proxy must not be used, or None."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "CMK_TSP_URL must be an http:// or https:// address with a host"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "CMK_TSP_URL must hold no user, password, query or fragment"
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        return (
            "CMK_TSP_URL is http:// to another machine, so data keys would travel in clear: use https://, "
            "or set CMK_TSP_ALLOW_HTTP = True where the network itself encrypts"
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(name: str) -> str:
    value = getattr(settings, name, None)
    if not isinstance(value, str) or not value:
        raise ImproperlyConfigured(
            f"set {name}: encrypted fields need the tenant security proxy to seal and open values"
        )
    return value


def _forget(*, setting: str, **_: Any) -> None:
    if setting.startswith("CMK_"):
        conf.cache_clear()
        requesting_id.cache_clear()


setting_changed.connect(_forget, dispatch_uid="encrypted_fields.conf")
