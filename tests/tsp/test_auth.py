"""API keys: two of them, exact, and compared without telling which part was right. T-14."""

from __future__ import annotations

import hmac

import pytest

from encrypted_fields.core.errors import Unauthorized
from tsp import auth
from tsp.auth import ApiKeys

FIRST, SECOND = "Zmlyc3Qta2V5LTEyMzQ1", "c2Vjb25kLWtleS0xMjM0"


def test_both_keys_are_accepted_while_one_replaces_the_other() -> None:
    keys = ApiKeys(FIRST, SECOND)
    keys.check(f"cmk {FIRST}".encode())
    keys.check(f"cmk {SECOND}".encode())


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"cmk",
        b"cmk ",
        FIRST.encode(),
        f"CMK {FIRST}".encode(),
        f"Cmk {FIRST}".encode(),
        f"cmk  {FIRST}".encode(),
        f" cmk {FIRST}".encode(),
        f"cmk {FIRST} ".encode(),
        f"cmk {FIRST.lower()}".encode(),
        f"cmk {FIRST[:-1]}".encode(),
        f"Bearer {FIRST}".encode(),
        b"cmk " + b"x" * 100_000,
        b"cmk \xff\xfe",
    ],
)
def test_refuses_anything_else(header: bytes | None) -> None:
    with pytest.raises(Unauthorized):
        ApiKeys(FIRST, SECOND).check(header)


def test_without_a_second_key_no_empty_one_is_accepted() -> None:
    with pytest.raises(Unauthorized):
        ApiKeys(FIRST).check(b"cmk ")


def test_an_empty_key_is_a_mistake_at_the_start() -> None:
    with pytest.raises(ValueError, match="TSP_API_KEY"):
        ApiKeys("")


@pytest.mark.parametrize("given", [FIRST, SECOND, "wrong"])
def test_both_keys_are_always_compared(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A match of the first must not answer sooner than one of the second, nor than none."""
    compared: list[int] = []

    def count(one: bytes, other: bytes) -> bool:
        compared.append(len(one) + len(other))
        return hmac.compare_digest(one, other)

    keys = ApiKeys(FIRST, SECOND)
    monkeypatch.setattr(auth, "hmac", type("Counting", (), {"compare_digest": staticmethod(count)}))
    try:
        keys.check(f"cmk {given}".encode())
    except Unauthorized:
        assert given == "wrong"
    assert compared == [64, 64]


def test_the_key_itself_is_not_kept() -> None:
    keys = ApiKeys(FIRST, SECOND)
    assert FIRST not in repr(keys)
    held = b"".join(getattr(keys, name) for name in ("_first", "_second"))
    assert FIRST.encode() not in held
    assert len(held) == 64
