"""What a record must pass before it serves: it opens, is what it claims to be, is newer, and works. T-4, T-5, R-32."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    KmsError,
    KmsMisconfigured,
    KmsRefused,
    KmsThrottled,
    KmsUnreachable,
)
from tsp.configs.active import ActiveKms, ActiveSiem
from tsp.contract import tenant
from tsp.contract.events import AuditEvent
from tsp.contract.options import OptionError
from tsp.contract.sealed import Record
from tsp.contract.tenant import Document, DocumentError
from tsp.egress import Egress
from tsp.siem.base import SinkError
from tsp.unseal import CannotOpen, PrivateKeys

Active = ActiveKms | ActiveSiem

# The closed list of reasons that the portal gets to see, and whether the same record is tried again.
REASONS = {
    "cannot_open": False,
    "bad_document": False,
    "config_binding_mismatch": False,
    "replayed": False,
    "broken_chain": False,
    "unknown_provider": False,
    "local_not_allowed": False,
    "bad_options": False,
    "leasing_required": False,
    "self_test_failed": False,
    "kms_misconfigured": False,
    "kms_refused": True,
    "kms_unreachable": True,
    "siem_rejects": False,
    "siem_refused": True,
    "siem_unreachable": True,
    "audit_unavailable": True,
    "state_not_writable": True,
}


class Refused(Exception):
    """The record does not serve, for one of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, REASONS[reason]


class Mark(NamedTuple):
    """The newest version of a configuration that was accepted, and the hash of its record."""

    version: int
    hash: str


def read(record: Record, marks: Iterable[Mark], *, vendor: str, keys: PrivateKeys) -> Document:
    """The document in `record`, bound to what it says outside and newer than each of `marks`. Refused otherwise.

    The record of a mark itself passes too; a version that leaves out others passes, since each replaces the whole.
    """
    try:
        key, data = keys.open(record.boxes)
        document = tenant.load(data)
    except CannotOpen:
        raise Refused("cannot_open") from None
    except DocumentError:
        raise Refused("bad_document") from None
    inside = document.binding
    claimed = (vendor, record.tenant, record.config, record.kind, record.version, key)
    if claimed != (inside.vendor, inside.tenant, inside.config, inside.kind, inside.version, inside.tsp_key):
        raise Refused("config_binding_mismatch")
    for mark in marks:
        if record.version <= mark.version and mark != (record.version, record.hash):
            raise Refused("replayed")
        if record.version == mark.version + 1 and inside.previous != mark.hash:
            raise Refused("broken_chain")
    return document


def activate(document: Document, egress: Egress, *, allow_local: bool) -> Active:
    """The document's adapter or sink with its options checked, not used yet. Refused if they are not what it takes."""
    if document.body.provider == "local" and not allow_local:
        raise Refused("local_not_allowed")
    active: Active = (ActiveKms if document.binding.kind == "kms" else ActiveSiem)(document, egress)
    try:
        active.check()
    except KeyError:
        raise Refused("unknown_provider") from None
    except (OptionError, ValueError):
        raise Refused("bad_options") from None
    return active


def try_out(active: Active, vendor: str, name: str, news: AuditEvent) -> None:
    """Blocking. A key service must wrap, unwrap and notice a change; a SIEM must take `news`. Refused if not."""
    try:
        if isinstance(active, ActiveSiem):
            _try_sink(active, news)
        else:
            _try_kms(active, KeyContext(vendor, name, active.config, "dek"))
    except ValueError:  # the adapter is made here, and looks closer than `check`
        raise Refused("bad_options") from None


def _try_kms(active: ActiveKms, context: KeyContext) -> None:
    key = os.urandom(32)
    other = KeyContext(context.vendor, context.tenant + "-other", context.config, context.purpose)
    try:
        blob = active.adapter.wrap(key, context)
        same = bytes(active.adapter.unwrap(blob, context)) == key
        changed = bytearray(blob)
        changed[len(changed) // 2] ^= 1
        notices = _fails(active, bytes(changed), context) and _fails(active, blob, other)
    except KmsError as error:
        raise Refused(_kms_reason(error)) from None
    if not (same and notices):
        raise Refused("self_test_failed")


def _fails(active: ActiveKms, blob: bytes, context: KeyContext) -> bool:
    try:
        active.adapter.unwrap(blob, context)
    except (KmsUnreachable, KmsThrottled):
        raise  # it has not said no
    except KmsError:
        return True
    return False


def _kms_reason(error: KmsError) -> str:
    if isinstance(error, KmsUnreachable | KmsThrottled):
        return "kms_unreachable"
    if isinstance(error, KmsRefused):
        return "kms_refused"
    return "kms_misconfigured" if isinstance(error, KmsMisconfigured) else "self_test_failed"


def _try_sink(active: ActiveSiem, news: AuditEvent) -> None:
    try:
        active.sink.send([news])
    except SinkError as error:
        reason = "siem_refused" if error.refused else "siem_rejects" if error.permanent else "siem_unreachable"
        raise Refused(reason) from None
