"""The proxy's settings, read once at the start. What is wrong is said with the variable's name and the fix."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsp.contract.tenant import is_name
from tsp.limits import Limits


class ConfError(Exception):
    """A setting that the proxy cannot start with. Names the variable, never a secret's value."""


@dataclass(frozen=True, slots=True)
class TspSettings:
    """One proxy. Secrets do not print."""

    vendor: str
    host: str
    port: int
    ops_port: int
    name: str
    state_dir: Path
    refresh_seconds: int
    egress_allow: tuple[str, ...]
    allow_local_kms: bool
    broker_url: str
    api_key: str = field(repr=False)
    api_key_2: str = field(repr=False)
    private_keys: str = field(repr=False)
    broker_token: str = field(repr=False)
    redis_url: str = field(repr=False)  # may hold a password
    api_keys_file: Path | None = None
    limits: Limits = field(default_factory=Limits)
    otlp_url: str = ""
    trace_percent: int = 100

    @classmethod
    def of(cls, settings: Any) -> TspSettings:
        """From Django's settings. ConfError for what is missing."""
        needed = {
            "TSP_API_KEY": "a key that clients send: 32 random bytes in base64",
            "TSP_PRIVATE_KEYS": "what `manage.py tsp_keygen` printed",
            "TSP_BROKER_URL": "the address of the portal",
            "TSP_BROKER_TOKEN": "a service token that the portal gave out",
        }
        for name, what in needed.items():
            if not getattr(settings, name, ""):
                raise ConfError(f"{name} is not set: set it (or {name}_FILE) to {what}")
        if not is_name(settings.CMK_VENDOR):
            raise ConfError("CMK_VENDOR is not set: set it to the vendor's name in the portal")
        if settings.TSP_API_KEY == settings.TSP_API_KEY_2:
            raise ConfError("TSP_API_KEY and TSP_API_KEY_2 are the same: the second is for the rotation to another key")
        return cls(
            vendor=settings.CMK_VENDOR, host=settings.TSP_HOST, port=settings.TSP_PORT, ops_port=settings.TSP_OPS_PORT,
            name=settings.TSP_NAME, state_dir=Path(settings.TSP_STATE_DIR),
            refresh_seconds=settings.TSP_REFRESH_SECONDS,
            egress_allow=tuple(settings.TSP_EGRESS_ALLOW), allow_local_kms=settings.TSP_ALLOW_LOCAL_KMS,
            broker_url=settings.TSP_BROKER_URL, api_key=settings.TSP_API_KEY, api_key_2=settings.TSP_API_KEY_2,
            private_keys=settings.TSP_PRIVATE_KEYS, broker_token=settings.TSP_BROKER_TOKEN,
            redis_url=settings.TSP_REDIS_URL,
            api_keys_file=Path(settings.TSP_API_KEYS_FILE) if settings.TSP_API_KEYS_FILE else None,
            limits=Limits(settings.TSP_RATE_PER_KEY, settings.TSP_RATE_PER_TENANT, settings.TSP_UNWRAP_BUDGET),
            otlp_url=settings.TSP_OTLP_URL, trace_percent=settings.TSP_TRACE_PERCENT,
        )  # fmt: skip
