"""No key is printed, whoever prints the struct that holds it."""

from __future__ import annotations

import pytest
from msgspec import Struct
from rich.pretty import pretty_repr

from tsp.held import Grip, Held
from tsp.leases.cache import KeyState
from tsp.wire import BatchReply, DekReply, DerivedKey, DeriveReply, WrapReply

KEY = b"planted, in the place of a key!!"
MANY = {"a": {"b": [DerivedKey(KEY, 1, True)]}}


@pytest.mark.parametrize(
    "holder",
    [
        Held(KEY, b"edek", "mark", Grip(1, True, KeyState("north"), 0, None)),
        DekReply(KEY),
        WrapReply(KEY, b"edek"),
        BatchReply({"a": DekReply(KEY)}, {}),
        DeriveReply(True, MANY),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_a_key_is_not_printed(holder: Struct) -> None:
    for text in (repr(holder), str(holder), f"{[holder]}", pretty_repr(holder)):
        assert "planted" not in text
