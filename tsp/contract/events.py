"""An audit event: what the tenant's SIEM receives for every access to its keys. docs/formats.md section 6."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import overload

import msgspec
from msgspec.structs import replace

from encrypted_fields.core.fresh import fresh

FORMAT = 1


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One access, refusal or change. Holds no key, no value and no credential; `custom` is what the SaaS chose to add.

    `id` is unique and sorts by time: receivers drop repeats by it. `time` is ISO 8601 UTC with milliseconds.
    `outcome` is "success", "refused" (the tenant or its policy said no) or "error". `code` is the wire error code.
    `edek` is the first 16 hex digits of the SHA-256 of the wrapped key's content: it tells keys apart, opens nothing.
    """

    id: str
    time: str
    vendor: str
    tenant: str
    action: str
    outcome: str
    code: int = 0
    reason: str = ""
    requesting_id: str = ""
    data_label: str = ""
    source_ip: str = ""
    object_id: str = ""
    request_id: str = ""
    ray_id: str = ""
    tsp: str = ""
    config: int = 0
    leased: bool = False
    edek: str = ""
    count: int = 1
    custom: dict[str, str] = {}
    format: int = msgspec.field(default=FORMAT)


# action names; the security events of wire.md section 5 arrive under their own names
WRAP, UNWRAP, REKEY, DERIVE, REPORT = "dek.wrap", "dek.unwrap", "dek.rekey", "key.derive", "dek.report"
LEASE_RENEWED, LEASE_REFUSED, LEASE_EXPIRED = "lease.renewed", "lease.refused", "lease.expired"
ACCESS_RESTORED = "access.restored"
CONFIG_ACCEPTED, CONFIG_REFUSED, CONFIG_FIRST_SEEN = "config.accepted", "config.refused", "config.first_seen"
CONFIG_EXPIRING = "config.expiring"  # what it was sealed with ends soon; `custom` has the day and how many are left
SIEM_CHANGED, EVENTS_DROPPED = "siem.changed", "audit.dropped"
ACCESS_DENIED, LIMIT_REACHED = "access.denied", "limit.reached"

SUCCESS, REFUSED, ERROR = "success", "refused", "error"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AuditEvent)


def dump(event: AuditEvent) -> bytes:
    """One line of JSON; members at their default are left out, except the required ones."""
    return _encoder.encode(event)


Line = tuple[str, bytes]  # the tenant, and what `dump` gives


def line(event: AuditEvent) -> Line:
    return event.tenant, _encoder.encode(event)


class Written(Sequence[AuditEvent]):
    """Events that are lines already: a trail takes `lines` as they are, and whoever asks for an event has it read."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, at: int) -> AuditEvent: ...
    @overload
    def __getitem__(self, at: slice) -> list[AuditEvent]: ...
    def __getitem__(self, at: int | slice) -> AuditEvent | list[AuditEvent]:
        if isinstance(at, slice):
            return [load(data) for _, data in self.lines[at]]
        return load(self.lines[at][1])


def written(made: Sequence[AuditEvent]) -> Sequence[Line]:
    """The lines of events, those of `Written` as they are."""
    return made.lines if isinstance(made, Written) else [line(event) for event in made]


class Blank:
    """An event to be written for many keys: only id, key and object are written anew, the rest once."""

    def __init__(self, event: AuditEvent) -> None:
        place = new_id()  # random, so that it is nowhere else in the event
        whole = dump(replace(event, id=place, object_id=place, edek=place))
        self._event, self._parts = event, whole.split(place.encode())

    def line(self, identity: str, edek: str, target: str) -> bytes:
        """What `dump` gives for the event with this id and `edek`, which are hex digits, and this `object_id`."""
        if not target or not edek:  # a member that is left out
            return dump(replace(self._event, id=identity, object_id=target, edek=edek))
        first, second, third, last = self._parts
        name = _encoder.encode(target)[1:-1]
        return b"".join((first, identity.encode(), second, name, third, edek.encode(), last))


def load(data: bytes) -> AuditEvent:
    """ValueError (msgspec.DecodeError is one) for anything else, an unknown format included."""
    try:
        event = _decoder.decode(data)
    except RecursionError:
        raise ValueError("an audit event is not nested") from None
    if event.format != FORMAT:
        raise ValueError("the audit event's format is unknown")
    return event


def new_id() -> str:
    """32 hex digits: 48 bits of milliseconds, then 80 random bits. Sorts by time to the millisecond."""
    return ((time.time_ns() // 1_000_000).to_bytes(6, "big") + fresh(10)).hex()


def stamps(count: int) -> list[tuple[str, str]]:
    """`new_id` and `timestamp` for each of `count` events of one moment."""
    now = time.time_ns() // 1_000_000
    start, at, noise = f"{now:012x}", timestamp(now / 1000), fresh(10 * count).hex()
    return [(start + noise[place : place + 20], at) for place in range(0, 20 * count, 20)]


def made(identity: str) -> float:
    """When `new_id` made it, in seconds since 1970."""
    return int(identity[:12], 16) / 1000


def timestamp(seconds: float | None = None) -> str:
    """Now, or `seconds` since the epoch, as 2026-01-31T23:59:59.123Z."""
    whole, part = divmod(round((time.time() if seconds is None else seconds) * 1000), 1000)
    return f"{_second(whole)}.{part:03d}Z"


@lru_cache(8)  # many events a second
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
