"""`encryption_status`: how many values are in clear, sealed, both or foreign, and which keys they lie under.

Reads bytes, of a file its header only, opens nothing, asks for no key.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from encrypted_fields.core import envelope
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.moving import ENCRYPTED, headers
from encrypted_fields.moving.edek import EdekFacts, facts
from encrypted_fields.moving.headers import Head, Missing
from encrypted_fields.moving.table import Table


@dataclass
class Status:
    """Of one field in one database. `rows` = null + in_clear + sealed + foreign + missing; `both` counts again what is
    sealed and in clear. `keys`: sealed values, or files, by KMS configuration and leased key. `missing`: sealed files
    that the Storage has not."""

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
    missing: int = 0
    keys: Counter[EdekFacts] = dataclasses.field(default_factory=Counter)

    @property
    def problem(self) -> str | None:
        """What must not be; None when all is as the state says."""
        if self.foreign:
            return f"{self.foreign:,} values are no ciphertext of ours"
        if self.missing:
            return f"{self.missing:,} files are not in the Storage"
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
    files = getattr(encrypted, "cmk_file", False)
    for page in table.pages(columns, "1 = 1"):
        sealed = [row[1] or None for row in page] if files else [row[1] for row in page]
        look = _heads(encrypted.storage, sealed) if files else map(_parsed, sealed)
        for (_, _, *clear), parsed in zip(page, look, strict=True):
            _count(found, parsed, any(one if files else one is not None for one in clear))
    return found


def _parsed(stored: Any) -> envelope.Envelope | InvalidCiphertext | None:
    try:
        return None if stored is None else envelope.parse(bytes(stored))
    except InvalidCiphertext as error:
        return error


def _heads(storage: Any, names: list[str | None]) -> Iterator[Head | InvalidCiphertext | None]:
    found = iter(headers.each(partial(headers.head, storage), [name for name in names if name]))
    return (None if name is None else next(found) for name in names)


def _count(found: Status, parsed: envelope.Envelope | Head | InvalidCiphertext | None, in_clear: bool) -> None:
    found.rows += 1
    if parsed is None:
        found.in_clear += in_clear
        found.null += not in_clear
        return
    if isinstance(parsed, Missing):
        found.missing += 1
        return
    try:
        if isinstance(parsed, InvalidCiphertext):
            raise parsed
        key = facts(parsed.edek)
    except InvalidCiphertext:
        found.foreign += 1
        return
    found.sealed += 1
    found.both += in_clear
    found.row_bound += parsed.row_bound if isinstance(parsed, envelope.Envelope) else 0
    found.keys[key] += 1
