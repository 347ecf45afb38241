"""A history made by hand, out of real wrapped keys: what the tests of the oracle break in one place."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass, field, replace
from typing import Any

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.memory import SecretBytes
from tests.chaos.evidence import Alone, Customer, Disturbed, Evidence, Shift
from tests.chaos.oracle import Oracle, Verdict
from tests.support.aws_kms import OK, Asked
from tests.support.people import VENDOR
from tests.support.saas import UNWRAP, WRAP, Call, Stored, mark
from tsp import edek
from tsp.contract.tenant import Leasing
from tsp.leases.lease import Lease

NOW = 10_000.0  # the boot clock when the history begins
LEASED, DIRECT = Customer("leased", 1, Leasing(True), 0), Customer("direct", 2, Leasing(), 0)
PORTS = {8001: "tsp-1", 8002: "tsp-2", 8003: "tsp-3"}


@dataclass
class Key:
    """A leased key of a tenant: as its key service, its proxies and its rows know it."""

    tenant: Customer
    plain: bytes = field(default_factory=lambda: os.urandom(32))
    blob: bytes = field(default_factory=lambda: os.urandom(64))

    def __post_init__(self) -> None:
        name, config = self.tenant.name, self.tenant.config
        elek = edek.direct(self.plain, KeyContext(VENDOR, name, config, "lek"), self.blob)
        taken = SecretBytes.take(bytearray(self.plain))
        self.lease = Lease(VENDOR, name, config, elek, taken, self.tenant.leasing)

    @property
    def mark(self) -> str:
        return self.lease.digest[:8].hex()

    def row(self) -> Stored:
        dek = os.urandom(32)
        made, _ = self.lease.wrap(dek)
        return Stored(self.tenant.name, base64.b64encode(made).decode(), base64.b64encode(dek).decode())

    def asked(self, came: float, mode: str = OK, *, took: float = 0.1, tenant: str = "") -> Asked:
        """One call of the key service for it."""
        context = {"cmk-purpose": "lek", "cmk-tenant": tenant or self.tenant.name}
        fine = mode == OK
        return Asked(
            self.tenant.name, "Decrypt", came, came + took, mode, fine, self.blob, self.plain if fine else b"", context
        )


class History:
    """Two tenants, each with a row that was wrapped at `NOW` and that opens two seconds later: nothing is broken."""

    def __init__(self) -> None:
        self.key = Key(LEASED)
        self.customers = [replace(LEASED), replace(DIRECT)]
        self.calls: list[Call] = []
        self.asked = [self.key.asked(NOW)]
        self.events: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.shifts: list[Shift] = []
        self.disturbed: list[Disturbed] = []
        self.alone: list[Alone] = []
        wall = time.time()
        self.walls = (wall, wall)
        self.row = self.released(NOW, WRAP, self.key.row()).released[0]
        self.released(NOW + 2, UNWRAP, self.row)
        self.row_of_direct = self.direct(NOW + 3, WRAP)
        self.report(1)

    def released(self, began: float, route: str, *rows: Stored, port: int = 8001, event: bool = True) -> Call:
        """The SaaS asks and gets these keys, and their events arrive."""
        name = f"request-{len(self.calls)}"
        call = Call(name, port, route, rows[0].tenant, began, began + 0.2, 200, 0, len(rows), rows)
        self.calls.append(call)
        if event:
            self.events += [self.event(call, row) for row in rows]
        return call

    def event(self, call: Call, row: Stored) -> dict[str, Any]:
        about = {"tenant": row.tenant, "edek": mark(row), "request_id": call.id, "requesting_id": "load"}
        return {"id": os.urandom(8).hex(), "action": "dek.wrap", "outcome": "success", **about}

    def direct(self, began: float, route: str, *, proved: bool = True) -> Stored:
        """The SaaS gets a key that the key service wraps itself, in that call."""
        context = KeyContext(VENDOR, DIRECT.name, DIRECT.config, "dek")
        dek, blob = os.urandom(32), os.urandom(64)
        made = edek.serialize(DIRECT.config, edek.direct(dek, context, blob))
        row = Stored(DIRECT.name, base64.b64encode(made).decode(), base64.b64encode(dek).decode())
        self.released(began, route, row)
        if proved:
            about = {"cmk-purpose": "dek", "cmk-tenant": DIRECT.name}
            self.asked.append(Asked(DIRECT.name, "Encrypt", began, began + 0.1, OK, True, blob, dek, about))
        return row

    def report(self, version: int, state: str = "active") -> None:
        result = {"tenant": LEASED.name, "config": LEASED.config, "version": version, "state": state}
        self.reports.append({"tsp": "tsp-1", "results": [result]})

    def oracle(self) -> Oracle:
        return Oracle(
            Evidence(
                self.calls, self.asked, self.customers, PORTS, self.walls, self.events, self.reports, self.shifts,
                self.disturbed, self.alone,
            )
        )  # fmt: skip

    def verdict(self) -> Verdict:
        return self.oracle().judge()

    def broken(self) -> dict[str, int]:
        """How often each invariant is broken."""
        return {name: len(found) for name, found in self.verdict().broken.items()}
