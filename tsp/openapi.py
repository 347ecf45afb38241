"""The wire API as an OpenAPI 3.1 document, made of the same structures that read requests and write replies."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Struct

from encrypted_fields.core import errors, protocol
from encrypted_fields.core.errors import CmkError
from tsp import app, caps, guard, wire
from tsp.config_feed import VERSION

_REF = "#/components/schemas/{name}"
_NULL = {"type": "null"}
# made by clients, or above what is ever raised
_NOT_SENT = {errors.TspUnreachable, errors.InvalidCiphertext, errors.ServiceError, errors.KmsError, app.NoRoute}


class BatchWrapReply(Struct):
    """`wire.BatchReply` of a batch-wrap: each asked id is in exactly one of the two."""

    keys: dict[str, wire.WrapReply]
    failures: dict[str, wire.ErrorReply]


class BatchUnwrapReply(Struct):
    """`wire.BatchReply` of a batch-unwrap: each asked id is in exactly one of the two."""

    keys: dict[str, wire.DekReply]
    failures: dict[str, wire.ErrorReply]


class BatchRekeyReply(Struct):
    """`wire.BatchReply` of a batch-rekey: each asked id is in exactly one of the two."""

    keys: dict[str, wire.EdekReply]
    failures: dict[str, wire.ErrorReply]


# route → what it does, body, reply (None: the four bytes null)
ROUTES: dict[str, tuple[str, type[wire.Request], type[Struct] | None]] = {
    protocol.WRAP: ("Make a data key under the tenant's primary configuration", wire.Request, wire.WrapReply),
    protocol.UNWRAP: ("The data key in an EDEK", wire.Unwrap, wire.DekReply),
    protocol.BATCH_WRAP: ("A data key for each id", wire.BatchWrap, BatchWrapReply),
    protocol.BATCH_UNWRAP: ("The data key of each EDEK", wire.BatchUnwrap, BatchUnwrapReply),
    protocol.REKEY: ("The same data key, wrapped anew or for another tenant", wire.Rekey, wire.WrapReply),
    protocol.BATCH_REKEY: ("Each data key wrapped anew; an extension of ours", wire.BatchRekey, BatchRekeyReply),
    protocol.REPORT_OPERATIONS: ("Uses of data keys that the caller kept", wire.ReportOperations, None),
    protocol.SECURITY_EVENT: ("An event for the tenant's audit trail", wire.SecurityEvent, None),
    protocol.DERIVE: ("Keys derived from tenant secrets", wire.Derive, wire.DeriveReply),
}


def text() -> str:
    """docs/openapi.json."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """The document, in a fixed order."""
    kinds = [one for _, body, reply in ROUTES.values() for one in (body, reply) if one is not None]
    kinds = [*dict.fromkeys(kinds), wire.ErrorReply]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    found = dict(zip(kinds, schemas, strict=True))
    components["ErrorReply"]["properties"]["message"]["minLength"] = 1
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tenant security proxy",
            "version": VERSION,
            "description": "What schemas cannot say is in docs/wire.md. Members that are not listed are ignored.",
        },
        "servers": [{"url": "http://127.0.0.1:7777"}],
        "security": [{"apiKey": []}],
        "paths": {
            protocol.PREFIX + route: {"post": _operation(route, what, found[body], found[reply] if reply else _NULL)}
            for route, (what, body, reply) in ROUTES.items()
        },
        "components": {
            "securitySchemes": {
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`cmk ` and an API key, case and blank exactly so",
                }
            },
            "headers": {
                "ray": {
                    "description": "the id of the request, also in the log and in the audit event",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
                }
            },
            "responses": _failures(),
            "schemas": dict(sorted(components.items())),
        },
    }


def _operation(route: str, what: str, body: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    most = caps.BATCH_BYTES if route in app.MANY else caps.SINGLE_BYTES
    return {
        "operationId": route.rpartition("/")[2],
        "summary": what,
        "description": f"Operation `{app.OPERATIONS[route]}` of API keys. At most {most:,} bytes.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "done",
                "headers": {"x-ray-id": {"$ref": "#/components/headers/ray"}},
                "content": {"application/json": {"schema": reply}},
            },
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _failures()},
        },
    }


def _failures() -> dict[str, Any]:
    """A response for each HTTP status, with the codes that it comes with."""
    by_status: dict[int, list[type[CmkError]]] = {}
    tree: list[type[CmkError]] = [CmkError, *_below(CmkError)]
    for cls in tree:
        if cls not in _NOT_SENT and cls is not guard.RateLimited:
            by_status.setdefault(cls.http, []).append(cls)
    return {
        str(status): {
            "description": "; ".join(dict.fromkeys(f"{cls.code}: {cls.default}" for cls in classes)),
            "headers": {"x-ray-id": {"$ref": "#/components/headers/ray"}},
            "content": {"application/json": {"schema": {"$ref": _REF.format(name="ErrorReply")}}},
        }
        for status, classes in sorted(by_status.items())
    }


def _below(cls: type[CmkError]) -> list[type[CmkError]]:
    """The classes of the error tree that the proxy knows: those of the core, and its own."""
    ours = [one for one in cls.__subclasses__() if one.__module__ in (errors.__name__, app.__name__, guard.__name__)]
    return [each for one in ours for each in (one, *_below(one))]
