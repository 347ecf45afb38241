"""The wire API's words: routes, request metadata, bodies and replies. docs/wire.md; IronCore's TSP API, version 1."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from encrypted_fields.core.errors import CmkError, InvalidRequest, from_code

DEK_BYTES = 32
DERIVED_BYTES = 64
MAX_EDEK = 4096
PREFIX = "/api/1/"
WRAP = "document/wrap"
UNWRAP = "document/unwrap"
BATCH_WRAP = "document/batch-wrap"
BATCH_UNWRAP = "document/batch-unwrap"
REKEY = "document/rekey"
BATCH_REKEY = "document/batch-rekey"  # ours: other proxies of this API do not know it
REPORT_OPERATIONS = "document/report-operations"
SECURITY_EVENT = "event/security-event"
DERIVE = "key/derive-with-secret-path"


class NoSuchRoute(InvalidRequest):
    """The proxy does not know what it was asked for (HTTP 404)."""

    http = 404
    default = "there is no wire API at CMK_TSP_URL, or the proxy there does not know what it was asked for"


class BadReply(CmkError):
    """The proxy answered something that is not of the wire API. Its body is never quoted: it may hold a key."""

    default = "the tenant security proxy sent a reply that is not of the wire API"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Who asks, for which tenant, about what: the members that every request carries (wire.md section 3)."""

    tenant: str
    requesting_id: str
    data_label: str | None = None
    source_ip: str | None = None
    object_id: str | None = None
    request_id: str | None = None
    custom: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        icl = {
            "requestingId": self.requesting_id,
            "dataLabel": self.data_label,
            "sourceIp": self.source_ip,
            "objectId": self.object_id,
            "requestId": self.request_id,
        }
        return {
            "tenantId": self.tenant,
            "iclFields": {name: value for name, value in icl.items() if value is not None},
            "customFields": dict(self.custom),
        }


@dataclass(frozen=True, slots=True, repr=False)
class WrappedKey:
    """A new data key and its wrapped form. `dek` is a bytearray so that its holder can wipe it."""

    dek: bytearray
    edek: bytes

    def __repr__(self) -> str:
        return "<WrappedKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a data key cannot be pickled")


@dataclass(frozen=True, slots=True, repr=False)
class DerivedKey:
    """64 bytes derived from the tenant secret number `secret`, and whether new values are made with it."""

    secret: int
    key: bytearray
    current: bool

    def __repr__(self) -> str:
        return f"<DerivedKey of secret {self.secret}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a derived key cannot be pickled")


@dataclass(frozen=True, slots=True)
class Derived:
    """The reply of derive: keys by secret path and derivation path, the current one first, then those in rotation."""

    has_primary: bool
    keys: Mapping[str, Mapping[str, Sequence[DerivedKey]]]


def batch_wrap_body(metadata: Metadata, ids: Iterable[str]) -> dict[str, Any]:
    return {**metadata.body(), "documentIds": list(ids)}


def unwrap_body(metadata: Metadata, edek: bytes) -> dict[str, Any]:
    return {**metadata.body(), "encryptedDocumentKey": encode(edek)}


def batch_unwrap_body(metadata: Metadata, edeks: Mapping[str, bytes]) -> dict[str, Any]:
    return {**metadata.body(), "edeks": {name: encode(edek) for name, edek in edeks.items()}}


def rekey_body(metadata: Metadata, edek: bytes, new_tenant: str) -> dict[str, Any]:
    return {**unwrap_body(metadata, edek), "newTenantId": new_tenant}


def batch_rekey_body(metadata: Metadata, edeks: Mapping[str, bytes], new_tenant: str) -> dict[str, Any]:
    return {**batch_unwrap_body(metadata, edeks), "newTenantId": new_tenant}


def derive_body(metadata: Metadata, paths: Mapping[str, Iterable[str]], kind: str) -> dict[str, Any]:
    """`kind` is "deterministic", "vector" or "search"; `paths` the derivation paths by secret path."""
    asked = {secret: list(derivations) for secret, derivations in paths.items()}
    return {**metadata.body(), "paths": asked, "derivationType": "sha512", "secretType": kind}


def event_body(metadata: Metadata, event: str, at: float) -> dict[str, Any]:
    """`at`: seconds since 1970. The name goes where the oldest clients put it, which every proxy reads (rule 8)."""
    body = metadata.body()
    body["iclFields"]["event"] = event
    return {**body, "timestampMillis": int(at * 1000)}


class Uses(NamedTuple):
    """How often a key was used for rows beyond the one that the proxy gave it out for: to seal new ones, to open."""

    wraps: int = 0
    unwraps: int = 0


def report_body(metadata: Metadata, uses: Mapping[bytes, Uses]) -> dict[str, Any]:
    """The uses of each key, named by its EDEK, since the proxy gave it out."""
    operations = {encode(edek): {"wraps": one.wraps, "unwraps": one.unwraps} for edek, one in uses.items()}
    return {**metadata.body(), "operations": operations}


def wrapped(reply: object) -> WrappedKey:
    """The reply of wrap and rekey. BadReply when it is anything else, or a key of zeros: nothing is sealed with one."""
    key = dek(reply)
    if not any(key):
        raise BadReply
    return WrappedKey(key, edek(reply))


def edek(reply: object) -> bytes:
    """What batch-rekey has of one key. BadReply when it is anything else."""
    return decode(_text(reply, "edek"), most=MAX_EDEK)


def dek(reply: object) -> bytearray:
    """The reply of unwrap: exactly 32 bytes. BadReply when it is anything else."""
    key = bytearray(decode(_text(reply, "dek"), most=DEK_BYTES))
    if len(key) != DEK_BYTES:
        raise BadReply
    return key


def batch(reply: object, asked: Iterable[str]) -> tuple[dict[str, Any], dict[str, CmkError]]:
    """(raw key reply per id, error per id) of a batch.

    Each asked id must be in exactly one of them, and no other id in any (rule 6); BadReply otherwise.
    """
    if not isinstance(reply, dict):
        raise BadReply
    keys, failures = reply.get("keys"), reply.get("failures")
    if not isinstance(keys, dict) or not isinstance(failures, dict):
        raise BadReply
    if len(keys) + len(failures) != len(set(keys) | set(failures)) or set(keys) | set(failures) != set(asked):
        raise BadReply
    return keys, {name: error(failure) for name, failure in failures.items()}


def derived(reply: object, paths: Mapping[str, Iterable[str]]) -> Derived:
    """The reply of derive. BadReply unless each asked path has keys, exactly one of them current (rule 11)."""
    has_primary = reply.get("hasPrimaryConfig") if isinstance(reply, dict) else None
    if not isinstance(reply, dict) or not isinstance(has_primary, bool):
        raise BadReply
    found = {}
    for secret, derivations in paths.items():
        inner = _member(reply.get("derivedKeys"), secret)
        found[secret] = {path: _derived_keys(_member(inner, path)) for path in derivations}
    return Derived(has_primary, found)


def error(body: object, http: int | None = None) -> CmkError:
    """The error that an envelope `{"code", "message"}` stands for; BadReply when it is not one."""
    if isinstance(body, dict):
        code, message = body.get("code"), body.get("message")
        if type(code) is int and 0 <= code <= 65_535 and isinstance(message, str) and message:
            return from_code(code, message[:500], http)
    return BadReply()


def encode(data: bytes | bytearray | memoryview) -> str:
    """Standard alphabet, padded, no newline (rule 3)."""
    return base64.b64encode(data).decode("ascii")


def decode(text: str, *, most: int) -> bytes:
    """Strict, canonical base64 of 1 to `most` bytes; BadReply otherwise."""
    if not 0 < len(text) <= 4 * ((most + 2) // 3):
        raise BadReply
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadReply from None
    if len(data) > most or encode(data) != text:
        raise BadReply
    return data


def _member(reply: object, name: str) -> object:
    if not isinstance(reply, dict) or name not in reply:
        raise BadReply
    return reply[name]


def _derived_keys(listed: object) -> list[DerivedKey]:
    found: dict[int, DerivedKey] = {}
    for entry in listed if isinstance(listed, list) else []:
        key = bytearray(decode(_text(entry, "derivedKey"), most=DERIVED_BYTES))
        number, current = _member(entry, "tenantSecretId"), _member(entry, "current")
        if type(number) is not int or not 0 < number < 2**32 or not isinstance(current, bool):
            raise BadReply
        if number in found or len(key) != DERIVED_BYTES:
            raise BadReply
        found[number] = DerivedKey(number, key, current)
    if sum(key.current for key in found.values()) != 1:
        raise BadReply
    return sorted(found.values(), key=lambda key: not key.current)


def _text(reply: object, name: str) -> str:
    value = reply.get(name) if isinstance(reply, dict) else None
    if not isinstance(value, str):
        raise BadReply
    return value
