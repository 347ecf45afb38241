"""`encryption_status`: how many values are in clear, sealed, both or foreign, and which keys they lie under.

Reads bytes, opens nothing, asks for no key.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

from encrypted_fields.core import envelope
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.moving import ENCRYPTED
from encrypted_fields.moving.edek import EdekFacts, facts
from encrypted_fields.moving.table import Table


@dataclass
class Status:
    """Of one field in one database. `rows` = null + in_clear + sealed + foreign; `both` counts again what is sealed and
    in clear. `keys`: sealed values by KMS configuration and leased key."""

    model: str
    field: str
    database: str
    state: str | None
    rows: int = 0
    null: int = 0
    in_clear: int = 0
    both: int = 0
    sealed: int = 0
    row_bound: int = 0
    foreign: int = 0
    keys: Counter[EdekFacts] = dataclasses.field(default_factory=Counter)

    @property
    def problem(self) -> str | None:
        """What must not be; None when all is as the state says."""
        if self.foreign:
            return f"{self.foreign:,} values are no ciphertext of ours"
        if self.state == ENCRYPTED and self.in_clear + self.both:
            return f"{self.in_clear + self.both:,} values lie in clear"
        return None

    def as_dict(self) -> dict[str, Any]:
        configs: dict[str, dict[str, int]] = {}
        for (config, leased), count in sorted(self.keys.items()):
            configs.setdefault(str(config), {})[str(leased)] = count
        told = {name: value for name, value in vars(self).items() if name != "keys"}
        return {**told, "configs": configs, "problem": self.problem}


def status(table: Table, encrypted: Any) -> Status:
    """Goes through the whole table, page by page."""
    state = getattr(encrypted, "state", None)
    found = Status(table.model._meta.label, encrypted.name, table.using, state)
    columns = [encrypted] if state is None else [encrypted, encrypted.clear]
    for page in table.pages(columns, "1 = 1"):
        for _, stored, *clear in page:
            _count(found, None if stored is None else bytes(stored), any(one is not None for one in clear))
    return found


def _count(found: Status, stored: bytes | None, in_clear: bool) -> None:
    found.rows += 1
    if stored is None:
        found.in_clear += in_clear
        found.null += not in_clear
        return
    try:
        parsed = envelope.parse(stored)
        key = facts(parsed.edek)
    except InvalidCiphertext:
        found.foreign += 1
        return
    found.sealed += 1
    found.both += in_clear
    found.row_bound += parsed.row_bound
    found.keys[key] += 1
