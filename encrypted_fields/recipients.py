"""Who can open what a browser sealed: names and public keys, from wherever the project keeps them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from encrypted_fields.core.client_sealed import MOST_RECIPIENTS, key_id


@dataclass(frozen=True, slots=True)
class Recipient:
    """`label` is what the sealing person reads; `public_key` 32 bytes of X25519."""

    label: str
    public_key: bytes

    @property
    def key_id(self) -> str:
        return key_id(bytes(self.public_key))


Source = str | Callable[[Any], Iterable[Recipient]]


def recipients_of(source: Source, instance: Any) -> list[Recipient]:
    """What `source`, an attribute, method or function of the row, says; each key once. ValueError for a bad key."""
    found = source(instance) if callable(source) else getattr(instance, source)
    listed = {one.key_id: one for one in (found() if callable(found) else found)}
    if len(listed) > MOST_RECIPIENTS:
        raise ValueError(f"at most {MOST_RECIPIENTS} recipients can share one sealed value")
    return [listed[name] for name in sorted(listed)]


def for_browser(recipients: Iterable[Recipient]) -> list[dict[str, str]]:
    """What the sealing script reads."""
    return [
        {"id": one.key_id, "label": one.label, "key": base64.b64encode(bytes(one.public_key)).decode()}
        for one in recipients
    ]
