"""The wire API's bodies: strict about what opens keys, tolerant where published clients differ. docs/wire.md."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import astuple

from encrypted_fields.core.errors import CmkError, InvalidRequest
from encrypted_fields.core.protocol import MAX_EDEK
from tsp.contract.unshown import Unshown

MAX_IDS = 20_000
MAX_CUSTOM = 4096  # characters in all names and values together
_MAX_BASE64 = 4 * ((MAX_EDEK + 2) // 3)
_LATEST = 253_402_300_799_999  # the last millisecond of year 9999

Name = Annotated[str, Meta(min_length=1, max_length=1024)]
Text = Annotated[str, Meta(max_length=1024)]  # all of the metadata fits into one audit event of 64 KiB, however escaped
Id = Annotated[str, Meta(max_length=4096)]  # of a document, or a path: any Unicode
Base64 = Annotated[str, Meta(max_length=65_536)]  # too long for an EDEK: that id's failure, not the batch's
Custom = dict[str, str]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class IclFields(Struct, kw_only=True, rename="camel"):
    """Who asks and about what. Each optional member may be absent or null."""

    requesting_id: Name
    data_label: Text | None = None
    source_ip: Text | None = None
    object_id: Text | None = None
    request_id: Text | None = None
    event: Text | None = None


class Request(Struct, kw_only=True, rename="camel"):
    """The metadata that every request carries; members that we do not know are ignored."""

    tenant_id: Name
    icl_fields: IclFields
    custom_fields: Custom | None = None


class Unwrap(Request, kw_only=True, rename="camel"):
    encrypted_document_key: Base64


class Rekey(Unwrap, kw_only=True, rename="camel"):
    new_tenant_id: Name


class BatchWrap(Request, kw_only=True, rename="camel"):
    document_ids: Annotated[list[Id], Meta(max_length=MAX_IDS)]


class BatchUnwrap(Request, kw_only=True, rename="camel"):
    """PHP sends a map with the keys 0, 1, 2 … as an array: it is read as that map."""

    edeks: Annotated[dict[Id, Base64], Meta(max_length=MAX_IDS)] | Annotated[list[Base64], Meta(max_length=MAX_IDS)]

    def by_id(self) -> dict[str, str]:
        if isinstance(self.edeks, dict):
            return self.edeks
        return {str(index): edek for index, edek in enumerate(self.edeks)}


class BatchRekey(BatchUnwrap, kw_only=True, rename="camel"):
    new_tenant_id: Name


class SecurityEvent(Request, kw_only=True, rename="camel"):
    """The event's name is inside `iclFields` (older clients) or beside it (alloy)."""

    event: Text | None = None
    timestamp_millis: Annotated[int, Meta(ge=0, le=_LATEST)] | None = None

    def name(self) -> str:
        name = self.icl_fields.event or self.event
        if not name:
            raise InvalidRequest("'iclFields.event' or 'event' must name the event")
        return name


class Operations(Struct):
    wraps: Count = 0
    unwraps: Count = 0


class ReportOperations(Request, kw_only=True, rename="camel"):
    operations: Annotated[dict[Base64, Operations], Meta(max_length=MAX_IDS)]


class Derive(Request, kw_only=True, rename="camel"):
    paths: Annotated[dict[Id, list[Id]], Meta(max_length=MAX_IDS)]
    derivation_type: str
    secret_type: str


class DekReply(Unshown):
    """`bytes` become padded standard base64 (rule 3)."""

    dek: bytes


class WrapReply(Unshown):
    dek: bytes
    edek: bytes


class EdekReply(Struct):
    """Of a rekeyed key, which itself stays in the proxy."""

    edek: bytes


class ErrorReply(Struct):
    code: int
    message: str


class BatchReply(Struct):
    """Each asked id is in exactly one of the two (rule 6)."""

    keys: Mapping[str, DekReply | WrapReply | EdekReply]
    failures: dict[str, ErrorReply]


class DerivedKey(Unshown, rename="camel"):
    derived_key: bytes
    tenant_secret_id: int
    current: bool


class DeriveReply(Struct, rename="camel"):
    has_primary_config: bool
    derived_keys: dict[str, dict[str, list[DerivedKey]]]


Body = TypeVar("Body", bound=Request)
_AT = re.compile(r" - at (?:`key` in )?`\$\.?([A-Za-z0-9_.\[\]]*)`$")
_MISSING = re.compile(r"missing required field `([A-Za-z]+)`")
encode = msgspec.json.Encoder().encode


def decoder(kind: type[Body]) -> msgspec.json.Decoder[Body]:
    """Made once a route: building one costs more than a request."""
    return msgspec.json.Decoder(kind)


def decode(reader: msgspec.json.Decoder[Body], body: bytes | bytearray) -> Body:
    """InvalidRequest that names the member at fault and never repeats a value."""
    try:
        request = reader.decode(body)
        custom = request.custom_fields
        if not custom or sum(map(len, custom)) + sum(map(len, custom.values())) <= MAX_CUSTOM:
            return request
        problem = f"'customFields' is longer than {MAX_CUSTOM} characters in all"
    except msgspec.ValidationError as error:
        problem = _named(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = "the request body is not valid JSON"
    raise InvalidRequest(problem)  # outside the except block: the parser's own text may quote the body


def members(request: Request) -> int:
    """How many members the body must have had at least; not counted are those that were null or are deeper inside."""
    own, icl = astuple(request), astuple(request.icl_fields)
    count = len(own) - own.count(None) + len(icl) - icl.count(None)
    for one in own:
        if type(one) is dict:
            count += len(one)
    return count


def edek(text: str) -> bytes:
    """The bytes of an EDEK in a request. InvalidRequest unless it is padded standard base64 of 1 to 4,096 bytes."""
    if 0 < len(text) <= _MAX_BASE64:
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except (binascii.Error, ValueError):
            data = b""
        if 0 < len(data) <= MAX_EDEK:
            return data
    raise InvalidRequest(f"an encrypted document key must be standard base64, with padding, of 1 to {MAX_EDEK} bytes")


def edeks(texts: Iterable[str]) -> list[bytes | CmkError]:
    """`edek` of each of `texts`, its error in its place."""
    found = list[bytes | CmkError]()
    for text in texts:
        try:
            found.append(edek(text))
        except InvalidRequest as error:
            found.append(error.with_traceback(None))
    return found


def failure(error: CmkError) -> ErrorReply:
    """The envelope of an error; its message is never empty."""
    return ErrorReply(error.code, error.message)


def _named(text: str) -> str:
    at, missing = _AT.search(text), _MISSING.search(text)
    path = [part for part in (at.group(1) if at else "", missing.group(1) if missing else "") if part]
    where = f"'{'.'.join(path)}'" if path else "the request body"
    return f"{where} is missing" if missing else f"{where} has the wrong type, length or range"
